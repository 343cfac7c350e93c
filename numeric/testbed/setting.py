"""A language model that is small enough to know everything of: three tokens, one of which ends, and sequences of one or two.

    logits      (P, V)  one row of logits for each prefix: the empty one, and each first token that does not end
    sequences   (S, T)  every sequence, its tokens right-padded; T is 1 or 2
    mask        (S, T)  1 where there is a token

Padding is not empty: the model gives some token's log-probability there too, with its gradient, so that a loss that forgets its
mask is seen.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from derive.language.errors import UsageError

VOCABULARY = 3
END = 2


@dataclass(frozen=True)
class Setting:
    """Which sequences there are.

    Args
        length  the most tokens of a sequence, 1 or 2
        ends    whether token 2 ends a sequence; else all have `length` tokens
        pad     the token of padding, and the row of the logits that it is read from

    Raises
        UsageError, for another length.

    >>> [sequence.tolist() for sequence in Setting().sequences]
    [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0]]
    >>> Setting().mask[-1].tolist(), Setting(ends=False).prefixes_count, Setting(length=1).prefixes_count
    ([1.0, 0.0], 4, 1)
    """

    length: int = 2
    ends: bool = True
    pad: int = 0

    def __post_init__(self) -> None:
        if self.length not in (1, 2):
            message = f"the length of a setting is {self.length!r}; expected 1 or 2 tokens."
            raise UsageError(message)

    @property
    def prefixes_count(self) -> int:
        """P, the number of prefixes that have logits."""
        return 1 if self.length == 1 else 1 + VOCABULARY - self.ends

    @property
    def lists(self) -> list[tuple[int, ...]]:
        """The sequences as tuples of tokens."""
        tokens = range(VOCABULARY)
        if self.length == 1 or not self.ends:
            return list(itertools.product(tokens, repeat=self.length))
        return [*((first, second) for first in tokens if first != END for second in tokens), (END,)]

    @property
    def sequences(self) -> Tensor:
        """(S, T), right-padded."""
        return torch.tensor([[*tokens, *[self.pad] * (self.length - len(tokens))] for tokens in self.lists])

    @property
    def mask(self) -> Tensor:
        """(S, T) in float64."""
        return torch.tensor([[float(at < len(tokens)) for at in range(self.length)] for tokens in self.lists]).double()

    @property
    def prefixes(self) -> Tensor:
        """(S, T), the row of the logits that each token was drawn from; row `pad` at padding."""
        return torch.tensor([[self._prefix(tokens, at) for at in range(self.length)] for tokens in self.lists])

    def _prefix(self, tokens: tuple[int, ...], at: int) -> int:
        if at >= len(tokens):
            return self.pad
        return 1 + tokens[at - 1] if at else 0


@dataclass(frozen=True)
class Point:
    """The setting at one place: four policies, the rewards of its sequences, and critics.

    Args
        logits, behaviour, proximal, reference
                               (P, V): the policy that is trained, that which drew the samples, one between the two, and the
                               one that a KL penalty refers to
        rewards, more_rewards  (S,)
        values, action_values  (P,) and (P, V): critics that are wrong
    """

    setting: Setting
    logits: Tensor
    behaviour: Tensor
    proximal: Tensor
    reference: Tensor
    rewards: Tensor
    more_rewards: Tensor
    values: Tensor = field(repr=False)
    action_values: Tensor = field(repr=False)

    def log_probs(self, table: Tensor) -> Tensor:
        """Return the log-probability of each token of each sequence, (S, T), under the logits of a policy."""
        return table.log_softmax(-1)[self.setting.prefixes, self.setting.sequences]

    def sequence_log_probs(self, table: Tensor) -> Tensor:
        """Return the log-probability of each sequence, (S,), under the logits of a policy."""
        log_probs = self.log_probs(table)
        return torch.where(self.setting.mask > 0, log_probs, torch.zeros_like(log_probs)).sum(-1)


@cache
def random_point(setting: Setting, seed: int = 0, *, binary: bool = False) -> Point:
    """Return a point whose numbers are drawn from a seed; binary rewards are 1 for some sequences and 0 for the others.

    >>> point = random_point(Setting(), 0, binary=True)
    >>> float(point.sequence_log_probs(point.logits).exp().sum().round(decimals=12)), sorted(set(point.rewards.tolist()))
    (1.0, [0.0, 1.0])
    """
    generator = torch.Generator().manual_seed(1000 + seed)
    shape, count = (setting.prefixes_count, VOCABULARY), len(setting.lists)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).round(decimals=2)

    logits, step = (0.7 * normal(*shape)).round(decimals=2), normal(*shape)
    rewards = (0.5 + normal(count)).round(decimals=2)
    if binary:
        rewards = (rewards >= rewards.median()).double()
    return Point(
        setting,
        logits,
        (logits + step).round(decimals=2),
        (logits + step / 2).round(decimals=3),
        normal(*shape),
        rewards,
        normal(count),
        normal(shape[0]),
        normal(*shape),
    )
