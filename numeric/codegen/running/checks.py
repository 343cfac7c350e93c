"""What a call of a compiled estimator is given, checked: all of it at first, and what may have changed from then on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import TooLarge, UsageError
from derive.language.term import Symbol
from numeric.codegen.expressions import Kind
from numeric.codegen.inputs import (
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
    is_traced,
    spelled,
    tensors_of,
)
from numeric.codegen.running.positive import require_positive
from numeric.codegen.torchgen import Generated

MAX_ELEMENTS = 2**26


@dataclass(frozen=True)
class Checks:
    """The checks of the estimator of a name; without `values`, nobody looks whether numbers are finite."""

    name: str
    generated: Generated
    laws: Laws
    fixed: Mapping[str, frozenset[int]] = field(init=False)
    """The positions of the arguments of each function that are constants."""

    def __post_init__(self) -> None:
        names, fixed = self.generated.functions, self.generated.fixed
        object.__setattr__(self, "fixed", {name: frozenset(i for own, i in fixed if own == name) for name in names})

    def params(self, params: Params) -> Params:
        """Return the parameters, detached.

        Raises
            UsageError, if they are not as they must be.
        """
        checked = checked_params(params, self.generated.family, self.laws)
        if not self.generated.coordinatewise and (n := first(checked).shape[-1]) > 1:
            message = (
                f"{self.name!r} calls a function at several points, which is right for one number each: expected shape"
                f" (*batch, 1), got {n} entries, of which each call would move all at once."
            )
            raise UsageError(message)
        return checked

    def generator(self, generator: torch.Generator | None, params: Params) -> None:
        """Refuse a generator of another device."""
        device = first(params).device
        if generator is not None and generator.device.type != device.type:
            message = (
                f"the generator is on {generator.device}, the parameters on {device}: use torch.Generator({device.type!r})."
            )
            raise UsageError(message)

    def drawn_with(self, constants: Mapping[str, Any], params: Params) -> dict[str, Any]:
        """The constants that `draw` needs, checked; those that have a default get it."""
        wanted, defaults = self.generated.drawn_with, dict(self.generated.symbols)
        if not wanted and not constants:
            return {}
        given = {name: constants.get(name, defaults[name]) for name in wanted}
        unknown, missing = sorted(set(constants) - set(wanted)), [name for name, value in given.items() if value is None]
        if unknown or missing:
            wrong = "; ".join(filter(None, [_listed("unknown", unknown), _listed("missing", missing)]))
            message = f"the draws of {self.name!r} take {', '.join(wanted) or 'no constants'}: {wrong}."
            raise UsageError(message)
        return {name: self._constant(value, name, self.like(params)) for name, value in given.items()}

    def positive(self, params: Params, constants: Mapping[str, Any], *, defaults: bool = True) -> None:
        """Refuse values at which a law with a name is none; without defaults, constants that are not given are passed over."""
        if not (self.generated.positives or self.generated.probabilities):
            return
        given = dict(self.generated.symbols) | dict(constants) if defaults else constants
        names = {thing.name: name for thing, name in self.generated.names.items() if isinstance(thing, Symbol)}
        known = {symbol: given[name] for symbol, name in names.items() if given.get(name) is not None}
        known |= {self.generated.theta: first(params)}
        require_positive(self.generated.positives, known, self.name)
        require_positive(self.generated.probabilities, known, self.name, or_zero=True)

    def objective(self, f: Objective | None, *, values: bool = True) -> tuple[Objective, ...]:
        """The objective, wrapped so that what it returns is checked; none where the formula has none."""
        if not self.generated.functions:
            if f is not None:
                message = f"the formula of {self.name!r} has no function: give it constants only."
                raise UsageError(message)
            return ()
        name = self.generated.functions[0]
        return (checked_function(f, name, self.fixed[name], values=values, vector=name in self.generated.vectors),)

    def keywords(self, keywords: Mapping[str, Any], params: Params, *, values: bool = True) -> dict[str, Any]:
        """The other functions, wrapped, and the constants, detached."""
        functions, symbols = self.generated.functions[1:], dict(self.generated.symbols)
        unknown = sorted(set(keywords) - set(functions) - set(symbols))
        required = {*functions, *(name for name, default in symbols.items() if default is None)}
        missing = sorted(required - set(keywords))
        if unknown or missing:
            expected = ", ".join([*functions, *symbols]) or "none"
            wrong = "; ".join(filter(None, [_listed("unknown", unknown), _listed("missing", missing)]))
            message = f"keyword arguments of {self.name!r}: {wrong}; expected: {expected}."
            raise UsageError(message)
        like = self.like(params)
        checked = {name: self._function(keywords[name], name, like, values=values) for name in functions}
        return checked | {name: self._constant(keywords[name], name, like) for name in symbols if name in keywords}

    def again(self, keywords: Mapping[str, Any], params: Params) -> dict[str, Any]:
        """The same for keywords of shapes that were found right before."""
        like = self.like(params)
        return {name: self._again(value, name, like) for name, value in keywords.items()}

    def _again(self, value: object, name: str, like: Tensor) -> object:
        if name in self.generated.functions:
            return self._function(value, name, like, values=False)
        if not isinstance(value, Tensor) or value.ndim == 0 or self.generated.kinds[name] >= Kind.ANYTHING:
            return value
        if name == "lambda_":  # a temperature that is not positive has finite estimates
            return self._constant(value, name, like)
        alike = value.dtype == like.dtype and value.device == like.device
        return value.detach() if alike or name == self.generated.parameter else value.detach().to(like)

    def _function(self, f: object, name: str, like: Tensor, *, values: bool) -> Objective:
        if name in self.generated.baselines:
            return checked_baseline(f, name, like, values=values)
        return checked_function(f, name, self.fixed[name], values=values, vector=name in self.generated.vectors)

    def _constant(self, value: object, name: str, like: Tensor) -> object:
        if name == self.generated.parameter:
            return checked_parameter(value, name, like, self.generated.kinds[name])
        kind = self.generated.kinds[name]
        if kind >= Kind.ANYTHING:
            return value
        if isinstance(value, Tensor) and value.ndim > 0 and kind is not Kind.NUMBER:
            return checked_tensor_constant(value, name, like, like.shape if kind is Kind.VECTOR else like.shape[:-1])
        return checked_constant(name, value)

    def like(self, params: Params) -> Tensor:
        """A tensor (*batch, n): the parameters, or the first of them without the rows of a table."""
        tensor = first(params)
        if not isinstance(params, Mapping) or not self.laws.logits:
            return tensor
        rows = self.laws.logits[0].conditions
        return tensor if not rows else tensor.flatten(-rows - 1, -2)[..., 0, :]

    def noise(self, noise: Mapping[str, Tensor], params: Params) -> None:
        """Refuse noise that lacks a draw, or has another shape."""
        for k, name in enumerate(self.generated.noise):
            shape = self._shape(params, k)
            if name not in noise:
                expected = ", ".join(self.generated.noise)
                message = f"noise for {self.name!r} lacks {name!r}; expected {expected}, got {list(noise)}."
                raise UsageError(message)
            if noise[name].shape[-len(shape) :] != shape:
                got = tuple(noise[name].shape)
                message = f"noise {name!r} of {self.name!r}: expected shape (*sample_shape, {spelled(shape)}), got {got}."
                raise UsageError(message)

    def _shape(self, params: Params, k: int) -> torch.Size:
        """The shape of the k-th noise, without the samples."""
        like = self.like(params).shape
        if not isinstance(params, Mapping) or not self.generated.sizes:
            return like
        return torch.Size([*like[:-1], params[self.generated.sizes[k]].shape[-1]])

    def enumeration(self, params: Params) -> None:
        """Refuse an expectation over more outcomes than fit."""
        if not self.generated.enumerates:
            return
        shape = first(params).shape
        for part in tensors_of(params):
            shape = part.shape if part.numel() > shape.numel() else shape
        outcomes = 2 ** shape[-1] if self.generated.family == "bernoulli" else shape[-1]
        if outcomes * shape.numel() > MAX_ELEMENTS:
            message = (
                f"{self.name!r} takes an expectation over every outcome: {outcomes} outcomes of shape ({spelled(shape)}) are "
                f"{outcomes * shape.numel()} numbers, more than {MAX_ELEMENTS}; use fewer bits, or a smaller batch."
            )
            raise TooLarge(message)


def signature(params: Params, samples: int, generator: torch.Generator | None, keywords: Mapping[str, Any]) -> object:
    """What the checks of a call depend on, other than the numbers in its tensors; None where those are not known."""
    if is_traced() or torch._C._len_torch_dispatch_stack():  # somebody watches: an audit, a tracer
        return None
    if isinstance(params, Tensor):
        parts: tuple[object, ...] = params.shape, params.dtype, params.device
    else:
        parts = tuple(map(_kind, params.items())) if isinstance(params, Mapping) else (type(params),)
    given = tuple(map(_kind, keywords.items())) if keywords else ()
    return parts, type(samples), samples, generator and generator.device, given


def _kind(named: tuple[str, object]) -> tuple[object, ...]:
    name, value = named
    if not isinstance(value, Tensor):
        return name, type(value), value if isinstance(value, (int, float)) else None
    shape = value.shape
    return name, shape, value.dtype, value.device, None if shape or value.is_meta else value.item()


def _listed(what: str, names: list[str]) -> str:
    return f"{what} {', '.join(names)}" if names else ""
