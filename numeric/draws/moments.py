"""Exact moments of a gradient: sums over weighted outcomes, one at a time or many rows at once."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import torch
from torch import Tensor

from numeric.draws.tape import Tape

MOST_NOTED = 20
"""So many of the outcomes that add most are kept for a report."""


@dataclass
class Moments:
    """Sums over the outcomes of P, P g and P |g|, and the variance by West's update; and some outcomes to look at again."""

    total: float = 0.0
    outcomes: int = 0
    mean: list[Tensor] = field(default_factory=list)
    size: list[Tensor] = field(default_factory=list)
    square: list[Tensor] = field(default_factory=list)
    tail: list[Tensor] = field(default_factory=list)
    peak: list[Tensor] = field(default_factory=list)
    running: list[Tensor] = field(default_factory=list)
    kept: list[tuple[Tape, list[Tensor]]] = field(default_factory=list)
    largest: list[tuple[float, tuple[int, ...], float, list[Tensor]]] = field(default_factory=list)
    chooses: bool = False
    together: bool = False
    """Whether the outcomes were rows of one run, and some of them run alone too."""

    def add(self, tape: Tape, gradient: list[Tensor], *, keep: bool) -> None:
        """Add one outcome."""
        if not self.mean:
            self._start(gradient)
        weight = tape.weight
        self.total += weight
        self.chooses |= bool(tape.choices)
        for position, part in enumerate(gradient):
            self.mean[position] += weight * part
            self.size[position] += weight * part.abs()
            self.peak[position] = torch.maximum(self.peak[position], part.abs())
            if tape.is_at_end:
                self.tail[position] += weight * part.abs()
            delta = part - self.running[position]
            self.running[position] += delta * (weight / self.total)
            self.square[position] += weight * delta * (part - self.running[position])
        self._keep(tape, gradient, weight, keep=keep)
        self.outcomes += 1

    def add_rows(self, outcomes: Tensor, weights: Tensor, gradients: list[Tensor]) -> None:
        """Add some outcomes: their choices (n, m), their probabilities (n,) and their gradients (n, *shape) by parameter."""
        if not self.mean:
            self._start([gradient[0] for gradient in gradients])
        before, added = self.total, float(weights.sum())
        self.total += added
        most = torch.zeros_like(weights)
        for position, part in enumerate(gradients):
            size = part.abs()
            mean = _summed(weights, part)
            self.mean[position] += mean
            self.size[position] += _summed(weights, size)
            self.peak[position] = torch.maximum(self.peak[position], size.amax(0))
            if part.numel():
                most = torch.maximum(most, size.reshape(len(part), -1).amax(-1))
            if added > 0:
                self._merge(position, weights, part, mean / added, before, added)
        self._note(outcomes, weights, most * weights, gradients)
        self.outcomes += int((weights > 0).sum())
        self.chooses |= outcomes.shape[1] > 0

    def _merge(self, position: int, weights: Tensor, part: Tensor, mean: Tensor, before: float, added: float) -> None:
        delta = mean - self.running[position]
        inside = _summed(weights, (part - mean).square_())
        self.square[position] += inside + delta.square() * (before * added / self.total)
        self.running[position] += delta * (added / self.total)

    def _note(self, outcomes: Tensor, weights: Tensor, most: Tensor, gradients: list[Tensor]) -> None:
        for row in most.topk(min(MOST_NOTED, len(most))).indices.tolist():
            if not self._is_noted(float(most[row])):
                break
            outcome, weight = tuple(outcomes[row].tolist()), float(weights[row])
            self._push(float(most[row]), outcome, weight, [part[row].clone() for part in gradients])

    def _start(self, gradient: list[Tensor]) -> None:
        zeros = ([torch.zeros_like(g) for g in gradient] for _ in range(6))
        self.mean, self.size, self.square, self.running, self.tail, self.peak = zeros

    def _keep(self, tape: Tape, gradient: list[Tensor], weight: float, *, keep: bool) -> None:
        if keep:
            self.kept.append((tape, gradient))
        most = max((weight * float(part.abs().max()) for part in gradient if part.numel()), default=0.0)
        self._push(most, tape.outcome, weight, gradient)

    def _push(self, most: float, outcome: tuple[int, ...], weight: float, gradient: list[Tensor]) -> None:
        if not self._is_noted(most):
            return
        heapq.heappush(self.largest, (most, outcome, weight, gradient))
        if len(self.largest) > MOST_NOTED:
            heapq.heappop(self.largest)

    def _is_noted(self, most: float) -> bool:
        """Whether an outcome adds more than one of those that are kept."""
        return len(self.largest) < MOST_NOTED or not most <= self.largest[0][0]


def _summed(weights: Tensor, part: Tensor) -> Tensor:
    """The weighted sum of rows, (n,) and (n, *shape); a product of matrices, which needs no copy of the rows."""
    return (weights @ part.reshape(len(part), -1)).reshape(part.shape[1:])
