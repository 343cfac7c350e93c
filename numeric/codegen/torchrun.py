"""Run an estimator: compile the generated source, draw, estimate, and a surrogate loss."""

from __future__ import annotations

import builtins
import linecache
from collections.abc import Mapping
from itertools import count
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import TooLarge, UsageError
from derive.language.estimator import Estimator
from numeric.codegen.expressions import Kind
from numeric.codegen.inputs import (
    Gradient,
    Laws,
    Objective,
    Params,
    checked_baseline,
    checked_constant,
    checked_function,
    checked_parameter,
    checked_params,
    checked_tensor_constant,
    first,
    spelled,
)
from numeric.codegen.torchgen import Generated, generate

MAX_ELEMENTS = 2**26
_serial = count()


class Compiled:
    """An estimator as a torch function, made by `compile`.

    Shapes: logits are (*batch, n) in the bernoulli family (n independent bits) and (*batch, K) in the categorical family
    (one-hot outcomes); params of the normal family are {"loc", "log_scale"}, both (*batch, n). f maps outcomes (..., n) to
    values (...), for any leading dimensions. A gradient has the shape of the parameters; device and dtype follow them.

    Several finite laws take their logits by name, {"pi": ..., "mu": ...}, and the gradient is a dictionary of those that depend
    on the parameter of the target. A law that is given outcomes is a table, with one row for each of them before the last
    dimension: (*batch, K, K) given a class, (*batch, 2**n, n) given n bits, of which the first is the lowest.

    Constants are numbers. One that stands beside values of f (a baseline) may be a tensor (*batch); one that multiplies an
    outcome, or is subtracted from it, a tensor (*batch, n): a product of two vectors is their inner product. A function gets
    its constants as they were given, of any shape; one of constants only, such as C(x, psi), returns (*batch) or one number.
    Where the target is differentiated by a constant, that is a tensor (*batch, m), and the gradient has its shape: the weights
    phi of a control variate c(z, phi), or with m = 1 a number of the formula, eta or lambda. A target that is one for each
    coordinate of the parameters, such as a variance, is summed over them. c gets phi as it is, or as (..., m) with the leading
    dimensions of z, and is differentiated twice where the estimator differentiates its gradient.

    Attributes
        source     the text of the generated module
        family     the name of the family
        functions  the names of the user's functions; the first one is the objective f, the others are keyword arguments
        constants  the names of the constants, keyword arguments too
        parameter  the constant that the target is differentiated by, or None: by the parameters of the family
        noise      the names of the draws
    """

    name: str
    family: str
    source: str
    functions: tuple[str, ...]
    constants: tuple[str, ...]
    parameter: str | None
    noise: tuple[str, ...]

    def __init__(self, estimator: Estimator, generated: Generated) -> None:
        self.name = estimator.name
        self.family = generated.family
        self.source = generated.source
        self.functions = generated.functions
        self.constants = tuple(name for name, _ in generated.symbols)
        self.parameter = generated.parameter
        self.noise = generated.noise
        self._generated = generated
        self._laws = Laws(generated.laws, generated.alike)
        self._module = _execute(generated.source, estimator.name)

    def __repr__(self) -> str:
        return f"<{self.name}, {self.family} family>"

    def __call__(
        self,
        params: Params,
        f: Objective | None = None,
        *,
        generator: torch.Generator | None = None,
        samples: int = 1,
        **keywords: Any,
    ) -> Gradient:
        """Estimate the gradient, as the mean over independent samples.

        Args
            params     the parameters, see the class
            f          the objective, outcomes (samples, *batch, n) to values (samples, *batch); none where the formula has none
            generator  the source of randomness; the same state gives the same estimate
            samples    how many samples are averaged
            keywords   the formula's other functions, and its constants (c=0.0, eta=1.0, lambda_=0.5 unless given)

        Returns
            The estimate, with the shape of the parameters.

        Raises
            UsageError, if an input or a value of f is not as it must be.
            TooLarge, if the formula enumerates more outcomes than fit.
        """
        if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
            message = f"samples must be a positive integer, got {samples!r}."
            raise UsageError(message)
        drawn_with = {name: keywords[name] for name in self._generated.drawn_with if name in keywords}
        noise = self.draw(params, generator, (samples,), **drawn_with)
        estimates = self.estimate(params, noise, f, **keywords)
        if not self.noise:
            return estimates
        return {k: g.mean(0) for k, g in estimates.items()} if isinstance(estimates, dict) else estimates.mean(0)

    def draw(
        self,
        params: Params,
        generator: torch.Generator | None = None,
        sample_shape: tuple[int, ...] = (),
        **constants: Any,
    ) -> dict[str, Tensor]:
        """Sample the noise: each entry has shape (*sample_shape, *batch, n); `constants` are those of the laws of the draws.

        Raises
            UsageError, if the parameters are not as they must be, or the generator lives on another device.
        """
        params = self._checked_params(params)
        device = first(params).device
        if generator is not None and generator.device.type != device.type:
            message = (
                f"the generator is on {generator.device}, the parameters on {device}: use torch.Generator({device.type!r})."
            )
            raise UsageError(message)
        given = self._checked_constants(constants, params)
        drawn: dict[str, Tensor] = self._module["draw"](params, generator, sample_shape, **given)
        return drawn

    def _checked_constants(self, constants: dict[str, Any], params: Params) -> dict[str, Any]:
        """The constants that `draw` needs, checked; those that have a default get it."""
        wanted, defaults = self._generated.drawn_with, dict(self._generated.symbols)
        given = {name: constants.get(name, defaults[name]) for name in wanted}
        unknown, missing = sorted(set(constants) - set(wanted)), [name for name, value in given.items() if value is None]
        if unknown or missing:
            wrong = "; ".join(filter(None, [_listed("unknown", unknown), _listed("missing", missing)]))
            message = f"the draws of {self.name!r} take {', '.join(wanted) or 'no constants'}: {wrong}."
            raise UsageError(message)
        return {name: self._checked_constant(value, name, self._like(params)) for name, value in given.items()}

    def estimate(self, params: Params, noise: Mapping[str, Tensor], f: Objective | None = None, **keywords: Any) -> Gradient:
        """Compute the formula from noise: shape (*sample_shape, *batch, n), one estimate for each sample.

        Raises
            UsageError, if an input or a value of f is not as it must be.
            TooLarge, if the formula enumerates more outcomes than fit.
        """
        params = self._checked_params(params)
        self._check_noise(noise, params)
        self._check_enumeration(noise, params)
        arguments = self._checked_keywords(keywords, self._like(params))
        gradient: Gradient = self._module["estimate"](params, noise, *self._objective(f), **arguments)
        return gradient

    def _checked_params(self, params: Params) -> Params:
        checked = checked_params(params, self.family, self._laws)
        if not self._generated.coordinatewise and (n := first(checked).shape[-1]) > 1:
            message = (
                f"{self.name!r} calls a function at several points, which is right for one number each: expected shape"
                f" (*batch, 1), got {n} entries, of which each call would move all at once."
            )
            raise UsageError(message)
        return checked

    def _objective(self, f: Objective | None) -> tuple[Objective, ...]:
        if not self.functions:
            if f is not None:
                message = f"the formula of {self.name!r} has no function: give it constants only."
                raise UsageError(message)
            return ()
        return (checked_function(f, self.functions[0], self._fixed(self.functions[0])),)

    def _fixed(self, name: str) -> frozenset[int]:
        return frozenset(position for function, position in self._generated.fixed if function == name)

    def surrogate(
        self,
        params: Params,
        f: Objective | None = None,
        *,
        generator: torch.Generator | None = None,
        samples: int = 1,
        **keywords: Any,
    ) -> Tensor:
        """A scalar whose `backward()` adds exactly the estimate to `params.grad`; its value has no meaning.

        It is the sum over all parameters of parameter times estimate, the estimate detached. Where the target is differentiated
        by a constant, such as the parameter psi of a baseline, the estimate goes to the `grad` of that one.

        >>> from derive.catalogue import catalogue
        >>> logits = torch.zeros(3, 5, requires_grad=True)
        >>> compile(catalogue["score-function"]).surrogate(logits, lambda b: b.sum(-1)).backward()
        >>> logits.grad.shape
        torch.Size([3, 5])

        REBAR learns its eta from the same kind of sample, by the gradient of its variance:

        >>> eta = torch.ones(3, 1, requires_grad=True)
        >>> compile(catalogue["rebar-variance-eta"]).surrogate(logits, lambda b: b.square().sum(-1), eta=eta).backward()
        >>> eta.grad.shape
        torch.Size([3, 1])
        """
        gradient = self(params, f, generator=generator, samples=samples, **keywords)
        if self.parameter is not None:
            params = keywords[self.parameter]
        if isinstance(gradient, dict) and isinstance(params, Mapping):
            return torch.stack([(params[name] * part.detach()).sum() for name, part in gradient.items()]).sum()
        return (params * gradient.detach()).sum()  # type: ignore[operator, union-attr]

    def _checked_keywords(self, keywords: dict[str, Any], like: Tensor) -> dict[str, Any]:
        functions = self._generated.functions[1:]
        symbols = dict(self._generated.symbols)
        unknown = sorted(set(keywords) - set(functions) - set(symbols))
        required = {*functions, *(name for name, default in symbols.items() if default is None)}
        missing = sorted(required - set(keywords))
        if unknown or missing:
            expected = ", ".join([*functions, *symbols]) or "none"
            wrong = "; ".join(filter(None, [_listed("unknown", unknown), _listed("missing", missing)]))
            message = f"keyword arguments of {self.name!r}: {wrong}; expected: {expected}."
            raise UsageError(message)
        checked = {name: self._checked_function(keywords[name], name, like) for name in functions}
        return checked | {name: self._checked_constant(keywords[name], name, like) for name in symbols if name in keywords}

    def _checked_function(self, f: object, name: str, like: Tensor) -> Objective:
        if name in self._generated.baselines:
            return checked_baseline(f, name, like)
        return checked_function(f, name, self._fixed(name))

    def _checked_constant(self, value: object, name: str, like: Tensor) -> object:
        if name == self.parameter:
            return checked_parameter(value, name, like, self._generated.kinds[name])
        kind = self._generated.kinds[name]
        if kind >= Kind.ANYTHING:
            return value
        if isinstance(value, Tensor) and value.ndim > 0 and kind is not Kind.NUMBER:
            return checked_tensor_constant(value, name, like, like.shape if kind is Kind.VECTOR else like.shape[:-1])
        return checked_constant(name, value)

    def _like(self, params: Params) -> Tensor:
        """A tensor (*batch, n): the parameters, or the first of them without the rows of a table."""
        tensor = first(params)
        if not isinstance(params, Mapping) or not self._laws.logits:
            return tensor
        rows = self._laws.logits[0].conditions
        return tensor if not rows else tensor.flatten(-rows - 1, -2)[..., 0, :]

    def _shape(self, params: Params, k: int) -> torch.Size:
        """The shape of the k-th noise, without the samples."""
        like = self._like(params).shape
        if not isinstance(params, Mapping) or not self._generated.sizes:
            return like
        return torch.Size([*like[:-1], params[self._generated.sizes[k]].shape[-1]])

    def _check_noise(self, noise: Mapping[str, Tensor], params: Params) -> None:
        for k, name in enumerate(self._generated.noise):
            shape = self._shape(params, k)
            if name not in noise:
                message = f"noise for {self.name!r} lacks {name!r}; expected {', '.join(self.noise)}, got {list(noise)}."
                raise UsageError(message)
            if noise[name].shape[-len(shape) :] != shape:
                got = tuple(noise[name].shape)
                message = f"noise {name!r} of {self.name!r}: expected shape (*sample_shape, {spelled(shape)}), got {got}."
                raise UsageError(message)

    def _check_enumeration(self, noise: Mapping[str, Tensor], params: Params) -> None:
        if not self._generated.enumerates:
            return
        parts = list(params.values()) if isinstance(params, Mapping) else [params]
        shape = max((part.shape for part in parts), key=torch.Size.numel)
        outcomes = 2 ** shape[-1] if self.family == "bernoulli" else shape[-1]
        if outcomes * shape.numel() > MAX_ELEMENTS:
            message = (
                f"{self.name!r} takes an expectation over every outcome: {outcomes} outcomes of shape ({spelled(shape)}) are "
                f"{outcomes * shape.numel()} numbers, more than {MAX_ELEMENTS}; use fewer bits, or a smaller batch."
            )
            raise TooLarge(message)


def compile(estimator: Estimator, family: str | None = None) -> Compiled:
    """Compile an estimator into a torch function.

    Args
        estimator  from the catalogue, or your own
        family     "bernoulli", "categorical" or "normal"; by default "normal" for a normal law, else "bernoulli"

    Raises
        UsageError, UnknownNode, if the formula cannot be run in the family; the message says why.

    >>> from derive.catalogue import catalogue
    >>> rebar = compile(catalogue["rebar"], "bernoulli")
    >>> generator = torch.Generator().manual_seed(0)
    >>> rebar(torch.zeros(3, 5), lambda b: (b - 0.499).square().sum(-1), generator=generator, eta=0.9).shape
    torch.Size([3, 5])
    """
    return Compiled(estimator, generate(estimator, family))


def _execute(source: str, name: str) -> dict[str, Any]:
    """Run the text that `torchgen` made; it holds names that were checked to be identifiers, and nothing else from outside."""
    filename = f"<gradproof {name} {next(_serial)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module: dict[str, Any] = {"__name__": filename}
    exec(builtins.compile(source, filename, "exec"), module)  # noqa: S102, the text is our own
    return module


def _listed(what: str, names: list[str]) -> str:
    return f"{what} {', '.join(names)}" if names else ""
