"""Run an estimator: compile the generated source, draw, estimate, and a surrogate loss."""

from __future__ import annotations

import copy
import inspect
import math
import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from numeric.codegen.inputs import Gradient, Laws, Objective, Params, first, is_traced
from numeric.codegen.running.checks import Checks, signature
from numeric.codegen.running.chunks import cut, cut_constants, in_parts
from numeric.codegen.running.module import forget, module_of
from numeric.codegen.running.together import together
from numeric.codegen.torchgen import Generated, generate

Call: TypeAlias = tuple[Params, tuple[Objective, ...], dict[str, Any]]
"""The parameters, the objective, and the keywords of `draw` and `estimate`."""

Sampled: TypeAlias = Callable[..., tuple[dict[str, Tensor], Gradient]]
"""From the parameters, the objective, a generator, a shape of samples and keywords to the noise and the estimates from it."""

_ARGUMENTS = ("self", "params", "f", "noise", "generator", "samples", "check", "rowwise")


class Compiled:
    """An estimator as a torch function, made by `compile`.

    Shapes: logits are (*batch, n) in the bernoulli family (n independent bits) and (*batch, K) in the categorical family
    (one-hot outcomes); params of the normal family are {"loc", "log_scale"}, both (*batch, n). f maps outcomes (..., n) to
    values (...), for any leading dimensions. A gradient has the shape of the parameters; device and dtype follow them.

    Several finite laws take their logits by name, {"pi": ..., "mu": ...}, and the gradient is a dictionary of those that depend
    on the parameter of the target. A law that is given outcomes is a table, with one row for each of them before the last
    dimension: (*batch, K, K) given a class, (*batch, 2**n, n) given n bits, of which the first is the lowest.

    In the vector family theta itself is the tensor, (*batch, n). Laws with names have parameters that are terms in it and in
    constants, one law for each coordinate; what must be positive there is checked at each call.

    A mean or a scale that is given outcomes, mu(k, theta), makes a table of loc or log_scale, (*batch, K, n), beside logits.

    Constants are numbers. One that stands beside values of f (a baseline) may be a tensor (*batch); one that multiplies an
    outcome, or is subtracted from it, a tensor (*batch, n): a product of two vectors is their inner product. A function that
    stands beside a vector, as the slope df(b) beside b - m, and nowhere else, maps (..., n) to (..., n). A function gets
    its constants as they were given, of any shape; one of constants only, such as C(x, psi), returns (*batch) or one number.
    Where the target is differentiated by a constant, that is a tensor (*batch, m), and the gradient has its shape: the weights
    phi of a control variate c(z, phi), or with m = 1 a number of the formula, eta or lambda. A target that is one for each
    coordinate of the parameters, such as a variance, is summed over them. c gets phi as it is, or as (..., m) with the leading
    dimensions of z, and is differentiated twice where the estimator differentiates its gradient.

    A second derivative, of a target grad(grad(..., theta), theta), is a matrix (*batch, n, n) for each element of the batch; of
    several tensors, such as loc and log_scale, it is {"loc": {"loc": ..., "log_scale": ...}, ...}, the rows first. A constant v
    of a target grad(v * grad(..., theta), theta) is a tensor (*batch, n), and the gradient that matrix times v.

    `torch.compile(fullgraph=True)` and `torch.func.vmap` take the estimator, its `draw` and its `estimate`; what is nan or
    infinite passes there.

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
        self._refuse_taken_names()
        self._generated = generated
        self._checks = Checks(self.name, generated, Laws(generated.laws, generated.location, generated.alike))
        self._last: object = None
        self._original: Compiled | None = None
        module = module_of(f"{generated.source}\n\n{together(generated.source)}\n", estimator.name)
        weakref.finalize(self, forget, module)
        self._draw, self._estimate = inspect.unwrap(module.draw), inspect.unwrap(module.estimate)
        self._sampled: Sampled = module.draw_and_estimate

    def _refuse_taken_names(self) -> None:
        taken = [name for name in (*self.functions[1:], *self.constants) if name in _ARGUMENTS]
        if taken:
            message = (
                f"{', '.join(taken)} of {self.name!r} is given to the compiled estimator by name, where {', '.join(_ARGUMENTS)}"
                " are arguments of its own: rename it, or write the function that comes first in the formula as f."
            )
            raise UsageError(message)

    def __repr__(self) -> str:
        return f"<{self.name}, {self.family} family>"

    def __call__(
        self,
        params: Params,
        f: Objective | None = None,
        *,
        generator: torch.Generator | None = None,
        samples: int = 1,
        check: bool = True,
        rowwise: bool = False,
        **keywords: Any,
    ) -> Gradient:
        """Estimate the gradient, as the mean over independent samples.

        Args
            params     the parameters, see the class
            f          the objective, outcomes (samples, *batch, n) to values (samples, *batch); none where the formula has none
            generator  the source of randomness; the same state gives the same estimate
            samples    how many samples are averaged
            check      whether the call is checked: all of it, and where shapes and dtypes are those of the last call, the shape
                       of what functions return, that they leave their arguments as they are, and whether the estimate is
                       finite; without it a function that returns something else, or writes in place, is not noticed
            rowwise    whether functions treat each sample and each element of the batch by itself, whichever and how many they
                       are given: outcomes (rows, n) to values (rows). A large batch is then computed on a CPU in parts that fit
                       into its cache, in memory that does not grow with it; the estimate is the same up to rounding
            keywords   the formula's other functions, and its constants (c=0.0, eta=1.0, lambda_=0.5 unless given)

        Returns
            The estimate, with the shape of the parameters.

        Raises
            UsageError, if an input or a value of f is not as it must be.
            TooLarge, if the formula enumerates more outcomes than fit.
        """
        this = signature(params, samples, generator, keywords) if check else None
        new = check and (this is None or this != self._last)
        call = self._checked(params, f, generator, samples, keywords) if new else self._again(params, f, keywords, check=check)
        watched = this is not None and (not new or self._original is not None)
        try:
            gradient = self._run(call, generator, samples, rowwise=rowwise, watched=watched)
        except RuntimeError:  # such as that of torch, which draws nothing where a probability is nan
            if watched:
                self._checks.params(params)
            raise
        self._last = this or self._last
        return gradient

    def _checked(
        self, params: Params, f: Objective | None, generator: torch.Generator | None, samples: int, keywords: dict[str, Any]
    ) -> Call:
        """The arguments of the generated functions, all of them checked."""
        if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
            message = f"samples must be a positive integer, got {samples!r}."
            raise UsageError(message)
        params = self._checks.params(params)
        self._checks.generator(generator, params)
        self._checks.enumeration(params)
        constants = {name: keywords[name] for name in self._generated.drawn_with if name in keywords}
        drawn_with = self._checks.drawn_with(constants, params)
        values = self._original is None
        objective, given = self._checks.objective(f, values=values), self._checks.keywords(keywords, params, values=values)
        self._checks.positive(params, given)
        return params, objective, given | drawn_with

    def _again(self, params: Params, f: Objective | None, keywords: dict[str, Any], *, check: bool) -> Call:
        """The same, but for what was checked in the last call."""
        objective = self._checks.objective(f, values=False) if check else (f,) * bool(self.functions)
        given = self._checks.again(keywords, params) if keywords else keywords
        if check:  # with a rate that is not positive there are finite estimates too
            self._checks.positive(params, given)
        if self._generated.drawn_with:
            given = {name: value for name, value in self._generated.symbols if name in self._generated.drawn_with} | given
        return params, objective, given  # type: ignore[return-value]

    def _run(
        self, call: Call, generator: torch.Generator | None, samples: int, *, rowwise: bool, watched: bool
    ) -> Gradient:
        """The mean of the estimates; where nobody has looked at what functions return, at least the estimates are watched."""
        params, objective, given = call
        before = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)  # what `torch.no_grad` does, in a tenth of its time
        try:
            if rowwise and (parts := self._in_parts(call, generator, samples, watched=watched)) is not None:
                return parts
            sampled = self._in_two_steps if is_traced() else self._sampled
            noise, estimates = sampled(params, *objective, generator=generator, sample_shape=(samples,), **given)
            gradient = self._averaged(estimates, samples)
            if watched and not _is_finite(gradient):
                self._look(params, noise, *objective, **given)
            return gradient
        finally:
            torch._C._set_grad_enabled(before)

    def _in_parts(self, call: Call, generator: torch.Generator | None, samples: int, *, watched: bool) -> Gradient | None:
        params, objective, given = call
        shape, flat = first(params).shape, cut(params, slice(None))  # once, for it is a copy where they are strided
        sampled = self._in_two_steps if is_traced() else self._sampled

        def run(sample_shape: tuple[int, ...], rows: slice | None) -> Gradient:
            some = params if rows is None else cut(flat, rows)
            constants = cut_constants(given, self._generated, shape, rows)
            noise, gradient = sampled(some, *objective, generator=generator, sample_shape=sample_shape, **constants)
            if watched and not _is_finite(gradient):
                self._look(some, noise, *objective, **constants)
            return gradient

        return in_parts(self._generated, params, samples, run)

    def _in_two_steps(
        self,
        params: Params,
        *objective: Objective,
        generator: torch.Generator | None,
        sample_shape: tuple[int, ...],
        **given: Any,
    ) -> tuple[dict[str, Tensor], Gradient]:
        """The noise, and the estimates from it, where `estimate` is compiled or something sees every operation."""
        drawn_with = {name: given[name] for name in self._generated.drawn_with}
        noise = self._draw(params, generator, sample_shape, **drawn_with)
        return noise, self._estimate(params, noise, *objective, **given)

    def _look(self, params: Params, noise: Mapping[str, Tensor], *objective: Objective, **given: Any) -> None:
        """Compute the estimate again with every check, to say what is not finite; it may have overflowed by itself."""
        (self._original or self).estimate(params, noise, *objective, **given)

    def _averaged(self, estimates: Gradient, samples: int) -> Gradient:
        if not self.noise:
            return estimates
        if isinstance(estimates, dict):
            return {name: self._averaged(part, samples) for name, part in estimates.items()}  # type: ignore[misc]
        return _mean(estimates, samples)

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
        params = self._checks.params(params)
        self._checks.generator(generator, params)
        given = self._checks.drawn_with(constants, params)
        self._checks.positive(params, given, defaults=False)
        with torch.no_grad():
            drawn: dict[str, Tensor] = self._draw(params, generator, sample_shape, **given)
        return drawn

    def estimate(self, params: Params, noise: Mapping[str, Tensor], f: Objective | None = None, **keywords: Any) -> Gradient:
        """Compute the formula from noise: shape (*sample_shape, *batch, n), one estimate for each sample.

        Raises
            UsageError, if an input or a value of f is not as it must be.
            TooLarge, if the formula enumerates more outcomes than fit.
        """
        params = self._checks.params(params)
        self._checks.noise(noise, params)
        self._checks.enumeration(params)
        objective, given = self._checks.objective(f), self._checks.keywords(keywords, params)
        self._checks.positive(params, given)
        with torch.no_grad():
            gradient: Gradient = self._estimate(params, noise, *objective, **given)
        return gradient

    def compile(self, **options: Any) -> Compiled:
        """Return the same estimator with its `estimate` compiled by `torch.compile`; draws stay as they are.

        Functions are compiled with it, once for each of their texts: pass the same one again, and what changes as a constant.
        `options` are those of `torch.compile`, such as mode="max-autotune".

        >>> from derive.catalogue import catalogue
        >>> fast = compile(catalogue["score-function"]).compile(backend="eager")
        >>> fast(torch.zeros(3, 5), lambda b: b.sum(-1)).shape
        torch.Size([3, 5])
        """
        other = copy.copy(self)
        other._original, other._last = self, None
        other._estimate, other._sampled = torch.compile(self._estimate, fullgraph=True, **options), other._in_two_steps
        return other

    def surrogate(
        self,
        params: Params,
        f: Objective | None = None,
        *,
        generator: torch.Generator | None = None,
        samples: int = 1,
        check: bool = True,
        rowwise: bool = False,
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
        if self._generated.order > 1:
            message = f"the estimate of {self.name!r} is a matrix of second derivatives, and no gradient of a loss."
            raise UsageError(message)
        gradient = self(params, f, generator=generator, samples=samples, check=check, rowwise=rowwise, **keywords)
        if self.parameter is not None:
            params = keywords[self.parameter]
        if isinstance(gradient, dict) and isinstance(params, Mapping):
            return torch.stack([_inner(params[name], part) for name, part in gradient.items()]).sum()
        return _inner(params, gradient)  # type: ignore[arg-type]


def _inner(params: Tensor, gradient: Tensor) -> Tensor:
    """The inner product: one pass forward, and one back."""
    return torch.dot(params.reshape(-1), gradient.reshape(-1).to(params.dtype))


def _is_finite(gradient: Gradient) -> bool:
    if isinstance(gradient, dict):
        return all(map(_is_finite, gradient.values()))
    return math.isfinite((gradient if gradient.numel() == 1 else gradient.sum()).item())


def _mean(estimates: Tensor, samples: int) -> Tensor:
    """The mean, in memory of its own: one estimate may be one number that is expanded, as where f is a sum."""
    return estimates.squeeze(0).contiguous() if samples == 1 else estimates.mean(0)


def compile(estimator: Estimator, family: str | None = None) -> Compiled:
    """Compile an estimator into a torch function.

    Args
        estimator  from the catalogue, or your own
        family     "bernoulli", "categorical", "normal" or "vector"; by default what the laws of the estimator ask for

    Raises
        UsageError, UnknownNode, if the formula cannot be run in the family; the message says why.

    >>> from derive.catalogue import catalogue
    >>> rebar = compile(catalogue["rebar"], "bernoulli")
    >>> generator = torch.Generator().manual_seed(0)
    >>> rebar(torch.zeros(3, 5), lambda b: (b - 0.499).square().sum(-1), generator=generator, eta=0.9).shape
    torch.Size([3, 5])
    """
    return Compiled(estimator, generate(estimator, family))
