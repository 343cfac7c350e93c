"""What a loss function is given: the tensors of one sample, by the names of its arguments, and the law that samples have.

logprobs, old_logprobs, ref_logprobs, prox_logprobs  (T,)    of the policy, of what drew the samples, of the reference, of a
policy between the first two; at padding that of some token
kept_logprobs                                        (T,)    of the policy on the tokens that the sampler kept, renormalised
vocabulary, ref_vocabulary                           (T, V)  log-probabilities of every token at each position
mask                                                 (T,)    1 where there is a token
tokens                                               (T,)
rewards, more_rewards                                ()
values, exact_values, action_values                  (T,)    critics of the prefix: wrong, exact; and of prefix and token
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.testbed.setting import Point

Field: TypeAlias = Callable[[Tensor], Tensor]

TOP_K, TOP_P = 2, 0.75
_NEVER = -9.0  # the log-probability that a truncated sampler reports at padding


@dataclass(frozen=True)
class Samples:
    """A law of samples and their tensors.

    Args
        law     (S,), probabilities; what has none is left out of every group
        theta   the parameter, a tensor of any shape
        fields  by name: from the parameter to a tensor (S, ...)
        laws    the laws of the samples of a group in their order, where they differ
    """

    law: Tensor
    theta: Tensor
    fields: Mapping[str, Field]
    laws: tuple[Tensor, ...] = ()

    def named(self, names: Iterable[str]) -> dict[str, Field]:
        """Return the fields with these names.

        Raises
            UsageError, if there is none of that name.
        """
        unknown = [name for name in names if name not in self.fields]
        if unknown:
            message = f"the loss has an argument {unknown[0]!r}; expected some of {', '.join(self.fields)}."
            raise UsageError(message)
        return {name: self.fields[name] for name in names}


def kept_tokens(logits: Tensor, how: str) -> Tensor:
    """Return which tokens a truncated sampler keeps in each row, (P, V) of booleans.

    Args
        how  "top-k", with k = 2, or "top-p", with p = 0.75: the fewest of the most probable tokens that have that mass

    >>> kept_tokens(torch.tensor([[2.0, 1.0, 0.0], [5.0, 1.0, 0.0]]), "top-p").tolist()
    [[True, True, False], [True, False, False]]
    """
    probabilities, order = logits.detach().softmax(-1).sort(-1, descending=True)
    before = probabilities.cumsum(-1) - probabilities
    wanted = torch.arange(logits.shape[-1]).expand_as(order) < TOP_K if how == "top-k" else before < TOP_P
    return torch.zeros_like(wanted).scatter(-1, order, wanted)


def truncated(logits: Tensor, kept: Tensor) -> Tensor:
    """Return logits in which the other tokens have no probability."""
    return logits.masked_fill(~kept, float("-inf"))


def samples_of(point: Point, policy: str = "on") -> Samples:
    """Return the samples of a point.

    Args
        policy  what draws them: "on" the policy itself, "off" the behaviour, "top-k" and "top-p" the policy truncated

    Raises
        UsageError, for another policy.

    >>> from numeric.testbed.setting import Setting, random_point
    >>> found = samples_of(random_point(Setting()), "top-k")
    >>> int((found.law > 0).sum()), sorted(found.fields)[:2]
    (3, ['action_values', 'exact_values'])
    """
    if policy not in ("on", "off", "top-k", "top-p"):
        message = f"policy is {policy!r}; expected on, off, top-k or top-p."
        raise UsageError(message)
    kept = kept_tokens(point.logits, policy if policy in ("top-k", "top-p") else "top-k")
    drawn_from = {"on": point.logits, "off": point.behaviour}.get(policy, truncated(point.logits, kept))
    law = point.sequence_log_probs(drawn_from).exp()
    return Samples(law, point.logits, _fields(point, drawn_from, kept))


def _fields(point: Point, drawn_from: Tensor, kept: Tensor) -> dict[str, Field]:
    setting = point.setting
    old = point.log_probs(drawn_from).clamp(min=_NEVER)
    constants = {
        "old_logprobs": old,
        "ref_logprobs": point.log_probs(point.reference),
        "prox_logprobs": point.log_probs(point.proximal),
        "ref_vocabulary": point.reference.log_softmax(-1)[setting.prefixes],
        "mask": setting.mask,
        "tokens": setting.sequences,
        "rewards": point.rewards,
        "more_rewards": point.more_rewards,
        "values": point.values[setting.prefixes],
        "action_values": point.action_values[setting.prefixes, setting.sequences],
        "exact_values": exact_values(point),
    }
    moving: dict[str, Field] = {
        "logprobs": point.log_probs,
        "kept_logprobs": lambda theta: point.log_probs(truncated(theta, kept)).clamp(min=_NEVER),
        "vocabulary": lambda theta: theta.log_softmax(-1)[setting.prefixes],
    }
    return moving | {name: constant(value) for name, value in constants.items()}


def constant(value: Tensor) -> Field:
    """Return a field that does not depend on the parameter."""
    return lambda _: value


def exact_values(point: Point) -> Tensor:
    """Return the expected reward of the policy after each prefix, (S, T)."""
    law = point.sequence_log_probs(point.logits).exp()
    first = point.setting.sequences[:, 0]
    by_prefix = [law @ point.rewards]
    for token in range(point.setting.prefixes_count - 1):
        share = law * (first == token) * (point.setting.mask.sum(-1) > 1)
        by_prefix.append(share @ point.rewards / share.sum())
    return torch.stack(by_prefix)[point.setting.prefixes]
