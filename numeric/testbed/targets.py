"""What the mean of a gradient may be the gradient of: each by name, in words, as a formula, as a function of the logits.

Each is computed from the laws of the prefixes and tokens, and shares no step with the losses that are held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from numeric.testbed.samples import kept_tokens, truncated
from numeric.testbed.setting import VOCABULARY, Point

Value: TypeAlias = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Target:
    """Something that has a gradient.

    Args
        name    one word, by which it is found
        words   what it is
        tex     it, as a formula in LaTeX
        value   of a point and the parameter: a scalar with its graph
        sign    -1 where it is made larger, so that the loss is minus it; 1 where it is made smaller
    """

    name: str
    words: str
    tex: str
    value: Value
    sign: int = -1

    def gradient(self, point: Any, theta: Tensor) -> Tensor:
        """Return the gradient of what a loss should be, flattened."""
        leaf = theta.detach().clone().requires_grad_()
        with torch.enable_grad():
            value = self.value(point, leaf)
        if not value.requires_grad:
            return torch.zeros(leaf.numel(), dtype=torch.float64)
        (found,) = torch.autograd.grad(value, leaf)
        return self.sign * found.reshape(-1)


def prefix_law(logits: Tensor) -> Tensor:
    """Return the probability of each prefix, (P,): that of the empty one is one."""
    return torch.cat([torch.ones(1, dtype=logits.dtype), logits[0].softmax(-1)])[: len(logits)]


def reward_by_token(point: Point) -> Tensor:
    """Return the reward of the sequence that a token ends, (P, V); zero where it does not."""
    table = torch.zeros(point.setting.prefixes_count, VOCABULARY, dtype=torch.float64)
    for tokens, reward in zip(point.setting.lists, point.rewards, strict=True):
        table[0 if len(tokens) == 1 else 1 + tokens[0], tokens[-1]] = reward
    return table


def _values_of(point: Point, logits: Tensor) -> Tensor:
    """What a policy expects after each prefix and token, (P, V)."""
    table = reward_by_token(point)
    after = (logits.softmax(-1) * table).sum(-1)[1:]
    return torch.cat([table[:1] + torch.nn.functional.pad(after, (0, VOCABULARY - len(after))), table[1:]])


def _reward(point: Point, logits: Tensor) -> Tensor:
    return (prefix_law(logits) * (logits.softmax(-1) * reward_by_token(point)).sum(-1)).sum()


def _surrogate(point: Point, logits: Tensor) -> Tensor:
    return (prefix_law(point.behaviour) * (logits.softmax(-1) * _values_of(point, point.behaviour)).sum(-1)).sum()


def _prefixes(point: Point, logits: Tensor) -> Tensor:
    by_token = logits.softmax(-1) * torch.cat([_values_of(point, point.behaviour)[:1], reward_by_token(point)[1:]])
    return (prefix_law(logits) * by_token.sum(-1)).sum()


def _kept(how: str) -> Value:
    def value(point: Point, logits: Tensor) -> Tensor:
        kept = kept_tokens(point.logits, how)
        law = logits.softmax(-1) * kept
        reached = torch.cat([torch.ones(1, dtype=logits.dtype), law[0]])[: len(logits)]
        return (reached * (law * reward_by_token(point)).sum(-1)).sum()

    return value


def _renormalised(how: str) -> Value:
    return lambda point, logits: _reward(point, truncated(logits, kept_tokens(point.logits, how)))


def _geometric(point: Point, logits: Tensor) -> Tensor:
    lengths = point.setting.mask.sum(-1)
    behaviour, policy = (point.sequence_log_probs(table) for table in (point.behaviour, logits))
    return (((1 - 1 / lengths) * behaviour + policy / lengths).exp() * point.rewards).sum()


def _divergence(first: Tensor, second: Tensor) -> Tensor:
    """KL(first || second) of each row."""
    ours, others = first.log_softmax(-1), second.log_softmax(-1)
    return (ours.exp() * (ours - others)).sum(-1)


def _entropies(logits: Tensor) -> Tensor:
    law = logits.log_softmax(-1)
    return -(law.exp() * law).sum(-1)


def _kl(point: Point, logits: Tensor) -> Tensor:
    return (prefix_law(logits) * _divergence(logits, point.reference)).sum()


def _token_kl(point: Point, logits: Tensor) -> Tensor:
    return (prefix_law(point.logits) * _divergence(logits, point.reference)).sum()


def _rest(point: Point, logits: Tensor) -> Tensor:
    return (prefix_law(logits) * _divergence(point.logits, point.reference)).sum()


def _forward_kl(point: Point, logits: Tensor) -> Tensor:
    return (prefix_law(point.reference) * _divergence(point.reference, logits)).sum()


def _forward_token_kl(point: Point, logits: Tensor) -> Tensor:
    return (prefix_law(point.logits) * _divergence(point.reference, logits)).sum()


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("reward", "the expected reward", r"\mathbb{E}_{\pi}[R]", _reward),
        Target(
            "surrogate",
            "the surrogate of conservative policy iteration: one token by the policy, those before and after by the behaviour",
            r"\sum_t \mathbb{E}_{\mu_{<t}\, \pi_t\, \mu_{>t}}[R]",
            _surrogate,
        ),
        Target(
            "prefixes",
            "the sum over t of the expected reward with tokens up to t by the policy and those after it by the behaviour",
            r"\sum_t \mathbb{E}_{\pi_{\le t}\, \mu_{>t}}[R\, 1\{n \ge t\}]",
            _prefixes,
        ),
        Target(
            "geometric",
            "the reward under an unnormalised mixture of behaviour and policy that is geometric in the length",
            r"\sum_y \mu(y)^{1 - 1/n}\, \pi(y)^{1/n}\, R(y)",
            _geometric,
        ),
        Target(
            "kept-top-k",
            "the reward of what top-k keeps, the mask frozen",
            r"\mathbb{E}_{\pi}[R\, 1\{\text{kept}\}]",
            _kept("top-k"),
        ),
        Target(
            "kept-top-p",
            "the reward of what top-p keeps, the mask frozen",
            r"\mathbb{E}_{\pi}[R\, 1\{\text{kept}\}]",
            _kept("top-p"),
        ),
        Target(
            "top-k",
            "the expected reward of the policy under top-k, the mask frozen",
            r"\mathbb{E}_{q}[R]",
            _renormalised("top-k"),
        ),
        Target(
            "top-p",
            "the expected reward of the policy under top-p, the mask frozen",
            r"\mathbb{E}_{q}[R]",
            _renormalised("top-p"),
        ),
        Target("kl", "the KL of the sequence", r"\mathrm{KL}(\pi \,\|\, \pi_{\mathrm{ref}})", _kl, 1),
        Target(
            "token-kl",
            "the token KL: the sum of the KL at each position, the law of the prefixes frozen",
            r"\sum_t \mathbb{E}_{\bar\pi_{<t}}[\mathrm{KL}(\pi_t \,\|\, \pi_{\mathrm{ref},t})]",
            _token_kl,
            1,
        ),
        Target(
            "token-kl-of-behaviour",
            "the token KL over the prefixes of the behaviour",
            r"\sum_t \mathbb{E}_{\mu_{<t}}[\mathrm{KL}(\pi_t \,\|\, \pi_{\mathrm{ref},t})]",
            lambda point, logits: (prefix_law(point.behaviour) * _divergence(logits, point.reference)).sum(),
            1,
        ),
        Target(
            "kl-of-prefixes",
            "the sequence KL minus the token KL: what a token does to the KL of later ones",
            r"\sum_t \mathbb{E}_{\pi_{<t}}[\overline{\mathrm{KL}}(\pi_t \,\|\, \pi_{\mathrm{ref},t})]",
            _rest,
            1,
        ),
        Target(
            "forward-token-kl",
            "the forward token KL: that of the reference to the policy at each position, the law of the prefixes frozen",
            r"\sum_t \mathbb{E}_{\bar\pi_{<t}}[\mathrm{KL}(\pi_{\mathrm{ref},t} \,\|\, \pi_t)]",
            _forward_token_kl,
            1,
        ),
        Target("forward-kl", "the forward KL of the sequence", r"\mathrm{KL}(\pi_{\mathrm{ref}} \,\|\, \pi)", _forward_kl, 1),
        Target("entropy", "the entropy of the sequence", r"H(\pi)", lambda _, z: (prefix_law(z) * _entropies(z)).sum()),
        Target(
            "token-entropy",
            "the token entropy: the sum of the entropy at each position, the law of the prefixes frozen",
            r"\sum_t \mathbb{E}_{\bar\pi_{<t}}[H(\pi_t)]",
            lambda point, z: (prefix_law(point.logits) * _entropies(z)).sum(),
        ),
        Target("nothing", "nothing: the mean is zero", "0", lambda _, z: z.sum() * 0),
    )
}
"""Those that every point has. A bar marks what is frozen: it has the numbers of the point, and no gradient."""

REWARDS = ("reward", "surrogate", "prefixes", "geometric", "kept-top-k", "top-k", "kept-top-p", "top-p")
DIVERGENCES = ("kl", "token-kl", "kl-of-prefixes", "forward-token-kl", "forward-kl", "entropy", "token-entropy")
