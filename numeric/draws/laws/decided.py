"""What is decided about noise of a known form: on which side of thresholds it lies, and which integer it is rounded to.

Each decision is drawn from its law given those before, by choices on the tape; its probability is a function of the thresholds
that keeps their graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor

from numeric.draws.laws.forms import Form, Noise
from numeric.draws.laws.monotone import applied, preimage, standard_cumulative
from numeric.draws.quadrature_rules import quantile
from numeric.draws.random_ops import SAMPLING, TAIL
from numeric.draws.tape import NotAuditable, Tape

COMPARED = "continuous noise compared with a threshold"
MIXED = "aten.poisson at a rate of gamma noise"
ROUNDED = "continuous noise rounded to an integer"

_STARTS = {"floor": 0.0, "ceil": -1.0, "round": -0.5}
"""The integer n is what x is rounded to where x lies in [n + start, n + start + 1), but for single values."""

_MOST_INTEGERS = 2**16


class Intervals:
    """Noise that was compared with thresholds: between which of them each scalar lies, as probabilities."""

    def __init__(self, noise: Noise) -> None:
        self._family = noise.family
        self._low, self._high = [0.0] * noise.size, [1.0] * noise.size
        self._history: list[tuple[Form, Tensor, Tensor]] = []

    def below(self, form: Form, threshold: Tensor, tape: Tape) -> Tensor | None:
        """Decide for each element of a form whether it is below a threshold; None if we know no law of that."""
        found = _shares(form, threshold)
        if found is None:
            return None
        shares, falls = (each.reshape(-1) for each in found)
        pairs = zip(form.ids.reshape(-1).tolist(), shares.detach().tolist(), strict=True)
        left = torch.tensor([self._decide(position, share, tape) for position, share in pairs], dtype=torch.bool)
        left = left.to(falls.device)
        self._history.append((form, threshold, left))
        return (left ^ falls).reshape(form.ids.shape)

    def probability(self) -> Tensor:
        """Return the probability of all decisions together as a float64 scalar, differentiable in the thresholds."""
        low, high = torch.zeros(len(self._low), dtype=torch.float64), torch.ones(len(self._low), dtype=torch.float64)
        for form, threshold, left in self._history:
            ids, shares = form.ids.reshape(-1), _known(_shares(form, threshold))[0].reshape(-1)
            low = low.to(ids.device).scatter_reduce(0, ids, torch.where(left, 0, shares), "amax")
            high = high.to(ids.device).scatter_reduce(0, ids, torch.where(left, shares, 1), "amin")
        return (high - low).prod()

    def _decide(self, position: int, share: float, tape: Tape) -> bool:
        low, high = self._low[position], self._high[position]
        inside = min(max((share - low) / (high - low), 0.0), 1.0)
        left = bool(tape.choose((1 - inside, inside), COMPARED))
        if left:
            self._high[position] = min(high, share)
        else:
            self._low[position] = max(low, share)
        return left


class Integers:
    """Noise that was rounded to integers, once, each scalar to one of a list that leaves out less than `TAIL` at each end."""

    def __init__(self) -> None:
        self._masses: Callable[[], Tensor] | None = None
        self._index = torch.zeros(0, dtype=torch.int64)

    def rounded(self, form: Form, name: str, tape: Tape) -> Tensor | None:
        """Decide which integer `name`, as "floor", makes of each element; None if we know no law of that."""
        integers = _range(form)
        if name not in _STARTS or integers is None or form.ids.unique().numel() != form.ids.numel():
            return None
        edges = torch.cat([integers, integers[-1:] + 1]) + _STARTS[name]
        self._masses = lambda: _masses(form, edges)
        ends = (0, len(integers) - 1)
        drawn = [tape.choose(row, ROUNDED, ends=ends) for row in self._masses().detach().tolist()]
        self._index = torch.tensor(drawn, device=form.ids.device)
        return integers.to(form.ids.device)[self._index].reshape(form.ids.shape)

    def probability(self) -> Tensor:
        """Return the probability of the integers as a float64 scalar, differentiable in what the noise was made with."""
        if self._masses is None:
            return torch.ones((), dtype=torch.float64)
        return self._masses().gather(-1, self._index[:, None]).prod()


class GammaPoisson:
    """Gamma noise that was the rate of Poisson counts, which are negative binomial then."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._counts = torch.zeros(form.ids.shape, dtype=torch.float64)

    def drawn(self, tape: Tape) -> Tensor:
        """Draw the counts, each of a list that leaves out less than `TAIL`."""
        shape, scale = (each.detach().reshape(-1).tolist() for each in self._parameters())
        laws = [negative_binomial_law(r, s) for r, s in zip(shape, scale, strict=True)]
        counts = [tape.choose(law, MIXED, ends=(len(law) - 1,)) for law in laws]
        self._counts = torch.tensor(counts, dtype=torch.float64, device=self._form.ids.device).reshape(self._form.ids.shape)
        return self._counts

    def probability(self) -> Tensor:
        """Return the probability of the counts as a float64 scalar, differentiable in shape and scale."""
        return negative_binomial_probability(*self._parameters(), self._counts).prod()

    def _parameters(self) -> tuple[Tensor, Tensor]:
        if self._form.noise.shape is None:
            message = "gamma noise has a shape"
            raise ValueError(message)
        scale = torch.ones(self._form.ids.shape, dtype=torch.float64)
        for step in self._form.steps:
            scale = scale * step.value
        return self._form.noise.shape()[self._form.ids], scale


def negative_binomial_probability(shape: Tensor, scale: Tensor, count: Tensor) -> Tensor:
    """Return the probability of Poisson counts of rate scale * G, G of the gamma law with a shape: float64, differentiable."""
    ways = torch.lgamma(count + shape) - torch.lgamma(shape) - torch.lgamma(count + 1)
    return (ways - shape * torch.log1p(scale) + count * (scale.log() - torch.log1p(scale))).exp()


def negative_binomial_law(shape: float, scale: float) -> list[float]:
    """Return the probabilities of 0, 1, ... up to where less than `TAIL` is left.

    >>> round(sum(negative_binomial_law(2.5, 0.8)), 12)
    1.0
    """
    nbinom = import_module("scipy.stats").nbinom  # takes as long to import as many an audit takes
    last = math.ceil(nbinom.isf(TAIL, shape, 1 / (1 + scale))) + 1
    r, s = torch.tensor([shape, scale], dtype=torch.float64)
    law: list[float] = negative_binomial_probability(r, s, torch.arange(last + 1).double()).tolist()
    return law


def _masses(form: Form, edges: Tensor) -> Tensor:
    """Return how likely each element of a form is to lie between neighbouring edges, (elements, edges - 1)."""
    (wide,) = form.moved(lambda values: values.reshape(-1, 1).expand(-1, len(edges)))
    return _known(_shares(wide, edges))[0].diff(dim=-1).abs()


def _known(found: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    if found is None:
        message = "what noise is compared with was overwritten in place, and is no number now; compare with a copy (clone)."
        raise NotAuditable(message)
    return found


def _shares(form: Form, threshold: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return how much of the standard law lies below the place where a form crosses a threshold, and where the form falls."""
    crossing = preimage(form, threshold)
    shares = None if crossing is None else standard_cumulative(form.noise.family, crossing[0])
    if crossing is None or shares is None or bool(shares.isnan().any()):
        return None
    return shares, crossing[1]


def _range(form: Form) -> Tensor | None:
    """Return the integers that a form is rounded to, but for a probability of `TAIL` at each end of each scalar."""
    if _shares(form, torch.zeros((), dtype=torch.float64)) is None:
        return None
    tail = torch.tensor([TAIL, 1 - 1e-16, 1.0, TAIL], dtype=torch.float64)
    x = quantile(form.noise.family, tail[:2], tail[2:])
    ends = torch.stack([applied(form, torch.full(form.ids.shape, float(each), dtype=torch.float64)).detach() for each in x])
    if not bool(ends.isfinite().all()):
        return None
    low, high = int(ends.min().floor()) - 1, int(ends.max().ceil()) + 1
    if high - low > _MOST_INTEGERS:
        message = f"continuous noise is rounded to one of {high - low} integers, too many to enumerate; {SAMPLING}."
        raise NotAuditable(message)
    return torch.arange(low, high + 1, dtype=torch.float64)
