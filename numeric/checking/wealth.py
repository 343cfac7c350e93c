"""The wealth of the sequential test: looked at after every sample, and computed where it can have reached the threshold.

A bet L multiplies its capital by 1 + y <= exp(y), or for a variance by exp(phi(y)) / (1 + L^2 v / 2), y = L (x - m); both are
at most what they are for max(y, 0), without the denominator. So inside a block of samples a bet stays below its capital before
the block, times the product of those. Where the mean of that over the bets stays below the threshold, by a margin for rounding,
no sample of the block rejects, and only the capitals after the block are computed: a product of factors and one logarithm for
each bet. In every other block the capitals are computed after each sample. So the test rejects at the first sample at which
`running_log_wealth` is at the threshold and at no other, and what is proved of the one holds for the other.

With a variance and a tolerance t of rounding only, both signs are computed from one product, and each sample costs L t instead:
|phi'| <= 1, so no capital is larger than it should be, and its logarithm is less by at most L t a sample.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from numeric.checking.capital import BETS, ELEMENTS, Null, running_log_wealth

BLOCK = 20
_MARGIN = 1e-6
_ROUNDING = 1e-15


class Capitals:
    """The capitals of all bets, and what samples make of them.

    Args
        logs  the logarithms of the capitals, (bets, 2, 1, d)

    >>> from numeric.checking.capital import null_hypothesis
    >>> capitals = Capitals(null_hypothesis(0.5, (0, 1), None, 1e-9, 0.0))
    >>> capitals.take(torch.ones(100, 1, dtype=torch.float64))
    37
    """

    def __init__(self, null: Null) -> None:
        d = null.exact.numel()
        self.null = null
        self.logs: Tensor = null.exact.new_zeros(BETS, 2, 1, d)
        self._limit = null.threshold - _MARGIN
        self._block = min(BLOCK, max(1, 32 * ELEMENTS // (2 * BETS * d)))
        self._rows = max(1, ELEMENTS // (2 * BETS * d * self._block)) * self._block
        sides = [(sign * center, sign * bets[0], spread) for sign in (1, -1) for center, bets, spread in [null.side(sign)]]
        self._centers, self._largest, spreads = (torch.stack(parts)[:, None] for parts in zip(*sides, strict=True))
        self._bounded, self._halvings = null.method == "betting", 1 / _powers(1)[:, :, None, None]
        if self._bounded:
            return
        bets = self._largest.abs() * self._halvings
        self._costs = torch.log1p(bets.square() * spreads / 2)
        if null.tolerance * float(bets.amax()) <= _ROUNDING:
            self._centers, self._costs = null.exact.expand_as(spreads), self._costs + null.tolerance * bets
        else:
            self._centers, self._largest = torch.cat([self._centers] * 2), torch.cat([self._largest, -self._largest])

    def log_wealth(self) -> Tensor:
        """Return the log wealth in each coordinate: (d,)."""
        return _log_mean(self.logs)[0]

    def take(self, x: Tensor) -> int | None:
        """Take samples x (n, d) up to the first that rejects, and return how many these are; None where no sample rejects."""
        start, n = 0, len(x)
        while start < n:
            block = min(self._block, n - start)
            rows = min(self._rows, n - start) // block * block
            part = x if rows == n else x[start : start + rows]
            safe, stop = self._take_safe(part, block)
            used = self._take_each(part[safe:stop]) if safe < stop else None
            if used is not None:
                return start + safe + used
            start += stop
        return None

    def _take_safe(self, x: Tensor, block: int) -> tuple[int, int]:
        """Take the samples before the first block in which one might reject; return how many, and where the last such ends."""
        logs, gains = self._betting(x, block) if self._bounded else self._catoni(x, block)
        ends = logs.cumsum(2).add_(self.logs)
        peaks = torch.sub(ends, logs).add_(gains)
        first = stop = ends.shape[2]
        if not float(peaks.amax()) < self._limit:
            doubtful = (~(_log_mean(peaks) < self._limit).all(1)).nonzero()
            if len(doubtful):
                first, stop = int(doubtful[0]), int(doubtful[-1]) + 1
        if first:
            self.logs = ends.narrow(2, first - 1, 1)
        return first * block, stop * block

    def _take_each(self, x: Tensor) -> int | None:
        """Take samples as `take`, and compute the wealth after each."""
        before = self.logs.flatten(0, 2)
        wealth, logs = running_log_wealth(x, self.null, before)
        crossed = (wealth >= self.null.threshold).any(1).nonzero()
        used = int(crossed[0]) + 1 if len(crossed) else None
        if used is not None:
            _, logs = running_log_wealth(x[:used], self.null, before)
        self.logs = logs.view_as(self.logs)
        return used

    # What a block multiplies the capitals by, and a bound of that inside the block: logarithms, (bets, 2, blocks, d). Bet j is
    # 2^-j times the largest, so factors are computed times a power of 2^j, which is exact: an addition for a multiplication.

    def _betting(self, x: Tensor, block: int) -> tuple[Tensor, Tensor]:
        y = self._largest_bet(x, block)
        logs = torch.add(y.view(block, 1, -1), _powers(1)).prod(0).div_(_powers(block)).log_()
        return logs.view(BETS, *y.shape[1:]), y.clamp_(min=0).sum(0) * self._halvings

    def _catoni(self, x: Tensor, block: int) -> tuple[Tensor, Tensor]:
        y = self._largest_bet(x, block).clamp_(min=0)
        products = torch.add(y.view(block, 1, -1), _powers(1)).square_().add_(_powers(2)).prod(0)
        logs = products.div_(_powers(2 * block, 2.0**block)).log_().view(BETS, *y.shape[1:])
        gains, losses = (logs, logs.flip(1)) if y.shape[1] == 2 else logs.chunk(2, 1)
        return torch.sub(gains, losses).sub_(self._costs, alpha=block), gains

    def _largest_bet(self, x: Tensor, block: int) -> Tensor:
        """Return y for the largest bets, and where a variance needs both, -y after it: (block, signs, blocks, d)."""
        y = x.new_empty(block, len(self._largest), len(x) // block, x.shape[1])
        parts = x.view(-1, 1, block, x.shape[1]).transpose(0, 2)
        return torch.sub(parts, self._centers, out=y).mul_(self._largest)


def _log_mean(logs: Tensor) -> Tensor:
    return torch.logsumexp(logs, (0, 1)) - math.log(2 * BETS)


@cache
def _powers(exponent: int, factor: float = 1.0) -> Tensor:
    """Return factor * 2 ** (exponent * j) for all bets j: (bets, 1)."""
    return factor * 2.0 ** (exponent * torch.arange(BETS, dtype=torch.float64, device="cpu")[:, None])
