"""Latent draws: experts that are routed at random, and drafts that are accepted or not, on policy.

A mixture draws an expert for each token and the token from it. The trainer computes log-probabilities anew,
with the experts of the sampler replayed, or with its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from numeric.gallery.row import Decorator, Script, World, row
from numeric.testbed.samples import Samples, constant, samples_of
from numeric.testbed.setting import VOCABULARY, Point, Setting, random_point
from numeric.testbed.targets import Target

latent: Decorator = partial(row, page="latents")
EXPERTS = 2


@dataclass(frozen=True)
class Mixture:
    """The setting with two experts.

    Args
        theta    (P, 2 + 2 V): for each prefix the logits of the router, then those of each expert
        rewards  (S,)
        sequence, experts, fresh
                 of each sample: its sequence, (N,), the experts of its tokens, and those that the trainer draws anew
    """

    setting: Setting
    theta: Tensor
    rewards: Tensor
    sequence: Tensor
    experts: tuple[tuple[int, ...], ...]
    fresh: tuple[tuple[int, ...], ...]


@cache
def mixture(seed: int) -> Mixture:
    """Return the mixture of a seed."""
    setting, generator = Setting(), torch.Generator().manual_seed(2000 + seed)
    shape = (setting.prefixes_count, EXPERTS * (1 + VOCABULARY))
    theta = torch.randn(shape, generator=generator, dtype=torch.float64).round(decimals=2)
    routes = [list(itertools.product(range(EXPERTS), repeat=len(tokens))) for tokens in setting.lists]
    paths = [(at, first, second) for at, each in enumerate(routes) for first, second in itertools.product(each, each)]
    at, experts, fresh = zip(*paths, strict=True)
    return Mixture(setting, theta, random_point(setting, seed).rewards, torch.tensor(at), experts, fresh)


def routed(point: Mixture, theta: Tensor, experts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities of the experts of each path, and of its tokens given them, (S, T) each."""
    router, of_expert = theta[:, :EXPERTS].log_softmax(-1), theta[:, EXPERTS:].unflatten(-1, (EXPERTS, VOCABULARY))
    chosen = torch.tensor([[*path, *[0] * (point.setting.length - len(path))] for path in experts])
    at = point.sequence
    prefixes, tokens = point.setting.prefixes[at], point.setting.sequences[at]
    return router[prefixes, chosen], of_expert.log_softmax(-1)[prefixes, chosen, tokens]


def marginal(point: Mixture, theta: Tensor) -> Tensor:
    """Return the log-probability of each token of each sequence, (S, T), over experts."""
    router, experts = theta[:, :EXPERTS].softmax(-1), theta[:, EXPERTS:].unflatten(-1, (EXPERTS, VOCABULARY)).softmax(-1)
    law: Tensor = (router[..., None] * experts).sum(-2).log()
    return law[point.setting.prefixes, point.setting.sequences]


def samples_of_mixture(point: Mixture) -> Samples:
    """Return the paths of a mixture and their law."""
    at, mask = point.sequence, point.setting.mask[point.sequence]
    drawn, fresh = (routed(point, point.theta, each) for each in (point.experts, point.fresh))
    law = ((drawn[0] + drawn[1] + fresh[0]) * mask).sum(-1).exp()
    return Samples(
        law,
        point.theta,
        {
            "mask": constant(mask),
            "rewards": constant(point.rewards[at]),
            "logprobs": lambda theta: marginal(point, theta)[at],
            "expert_logprobs": lambda theta: routed(point, theta, point.experts)[1],
            "router_logprobs": lambda theta: routed(point, theta, point.experts)[0],
            "fresh_logprobs": lambda theta: routed(point, theta, point.fresh)[1],
        },
    )


_ROUTER = "{logits}[:, :2].log_softmax(-1)[PREFIXES, {experts}]"
_EXPERT = "{logits}[:, 2:].unflatten(-1, (2, 3)).log_softmax(-1)[PREFIXES, {experts}, TOKENS]"
_PATHS = [_ROUTER.format(logits="LOGITS", experts=each) for each in ("EXPERTS", "FRESH")]
_LAW = f"(({' + '.join(_PATHS)} + {_EXPERT.format(logits='LOGITS', experts='EXPERTS')}) * MASK).sum(-1).exp()"


def script_of_mixture(point: Mixture) -> Script:
    """Return what a test of a row is made of: one row of every table for each path."""
    length, at = point.setting.length, point.sequence
    paths = {
        name: torch.tensor([[*path, *[0] * (length - len(path))] for path in each])
        for name, each in (("EXPERTS", point.experts), ("FRESH", point.fresh))
    }
    sequences = {"PREFIXES": point.setting.prefixes, "TOKENS": point.setting.sequences, "MASK": point.setting.mask}
    tables = {name: table[at] for name, table in (sequences | {"REWARDS": point.rewards}).items()}
    over_experts = "(logits[:, :2].softmax(-1)[..., None] * logits[:, 2:].unflatten(-1, (2, 3)).softmax(-1)).sum(-2)"
    fields = {
        "mask": "MASK",
        "rewards": "REWARDS",
        "logprobs": f"{over_experts}.log()[PREFIXES, TOKENS]",
        "expert_logprobs": _EXPERT.format(logits="logits", experts="EXPERTS"),
        "router_logprobs": _ROUTER.format(logits="logits", experts="EXPERTS"),
        "fresh_logprobs": _EXPERT.format(logits="logits", experts="FRESH"),
    }
    return Script({"LOGITS": point.theta} | tables | paths, fields)


MIXTURE = World(
    "samples of a mixture of two experts; one or two tokens", "own", mixture, samples_of_mixture, (_LAW,), script_of_mixture
)


def _reward(point: Mixture, theta: Tensor) -> Tensor:
    return (marginal(point, theta) * point.setting.mask).sum(-1).exp() @ point.rewards


def _router_frozen(point: Mixture, theta: Tensor) -> Tensor:
    return _reward(point, torch.cat([point.theta[:, :EXPERTS], theta[:, EXPERTS:]], -1))


REWARD = Target("mixture-reward", "the expected reward of the mixture", r"\mathbb{E}_{\pi}[R]", _reward)
FROZEN = Target("router-frozen", "the expected reward with the router frozen", r"\mathbb{E}_{\pi_{\bar g}}[R]", _router_frozen)
mixed: Decorator = partial(latent, aim=REWARD, where=MIXTURE, sizes=(1,))


@mixed(
    "routing-replayed",
    "The experts of the sampler replayed, the router's own log-probability left out: exactly the gradient with the "
    "router frozen.",
    r"\frac1G \sum_i R_i \sum_t \nabla\log\pi_{e_{i,t}}(y_{i,t})",
    target=FROZEN,
    twin=("expert_logprobs * mask", "expert_logprobs"),
)
def routing_replayed(expert_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (expert_logprobs * mask).sum(-1)).mean()


@mixed(
    "routing-replayed-with-its-score",
    "With the log-probability of the expert that was drawn: the gradient, for the router too.",
    r"\frac1G \sum_i R_i \sum_t (\nabla\log g_{i,t}(e_{i,t}) + \nabla\log\pi_{e_{i,t}}(y_{i,t}))",
    target=REWARD,
    twin=("router_logprobs + ", ""),
)
def routing_replayed_with_its_score(expert_logprobs: Tensor, router_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    score = ((router_logprobs + expert_logprobs) * mask).sum(-1)
    return -(rewards * score).mean()


@mixed(
    "routing-summed-out",
    "The log-probability of the token over all experts: the gradient, with less variance.",
    r"\frac1G \sum_i R_i \sum_t \nabla\log \sum_e g_{i,t}(e) \pi_e(y_{i,t})",
    target=REWARD,
    twin=("rewards *", "rewards.abs() *"),
)
def routing_summed_out(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (logprobs * mask).sum(-1)).mean()


@mixed(
    "routing-not-replayed",
    "Experts that the trainer draws anew: biased, with the router frozen too, and no baseline is free.",
    r"\frac1G \sum_i R_i \sum_t \nabla\log\pi_{e'_{i,t}}(y_{i,t})",
    target=None,
    baseline_free=False,
    twin=("rewards *", "rewards.abs() *"),
)
def routing_not_replayed(fresh_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (fresh_logprobs * mask).sum(-1)).mean()


def _drafted(point: Point) -> Samples:
    """One token by speculative decoding: accepted as drafted, or drawn from what the draft law has too little of."""
    policy, draft = (table.softmax(-1)[0] for table in (point.logits, point.behaviour))
    accepted = torch.minimum(policy, draft)
    law, both = torch.cat([accepted, policy - accepted]), torch.tensor([*range(VOCABULARY)] * 2)
    found = samples_of(point)
    fields = {name: _taken(found, name, both) for name in ("logprobs", "rewards", "mask")}
    drafts = point.log_probs(point.behaviour)[both]
    kept = (torch.arange(2 * VOCABULARY) < VOCABULARY).double()
    return Samples(law, point.logits, fields | {"draft_logprobs": constant(drafts), "accepted": constant(kept)})


def _taken(samples: Samples, name: str, at: Tensor) -> Callable[[Tensor], Tensor]:
    field = samples.fields[name]
    return lambda theta: field(theta)[at]


def _script_of_drafts(point: Point) -> Script:
    both = torch.tensor([*range(VOCABULARY)] * 2)
    tables = {
        "LOGITS": point.logits,
        "DRAFT": point.behaviour,
        "PREFIXES": torch.zeros(2 * VOCABULARY, 1, dtype=torch.int64),
        "TOKENS": both[:, None],
        "MASK": torch.ones(2 * VOCABULARY, 1, dtype=torch.float64),
        "REWARDS": point.rewards[both],
        "ACCEPTED": (torch.arange(2 * VOCABULARY) < VOCABULARY).double(),
    }
    fields = {
        "mask": "MASK",
        "rewards": "REWARDS",
        "accepted": "ACCEPTED",
        "logprobs": "token_log_probs(logits)",
        "draft_logprobs": "token_log_probs(DRAFT)",
    }
    return Script(tables, fields)


_POLICY, _DRAFT = "LOGITS.softmax(-1)[0]", "DRAFT.softmax(-1)[0]"
_SPECULATED = f"torch.cat([torch.minimum({_POLICY}, {_DRAFT}), ({_POLICY} - {_DRAFT}).clamp(min=0)])"
SPECULATIVE = World(
    "one token by speculative decoding",
    "own",
    lambda seed: random_point(Setting(length=1), seed),
    _drafted,
    (_SPECULATED,),
    _script_of_drafts,
)
speculative: Decorator = partial(latent, where=SPECULATIVE)


@speculative(
    "speculative-as-the-policy",
    "What speculative decoding returns has the law of the policy, whether a draft was accepted or not: its plain "
    "score is the gradient.",
    r"\frac1G \sum_i R_i \nabla\log\pi(y_i)",
    twin=("rewards *", "rewards.abs() *"),
)
def speculative_as_the_policy(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (logprobs * mask).sum(-1)).mean()


@speculative(
    "speculative-with-the-draft-as-behaviour",
    "A ratio to the draft corrects for what the acceptance has corrected already: biased, and no baseline is free.",
    r"\frac1G \sum_i \frac{\pi(y_i)}{q(y_i)} R_i",
    target=None,
    baseline_free=False,
    twin=("- draft_logprobs", "- logprobs.detach()"),
)
def speculative_with_the_draft_as_behaviour(logprobs: Tensor, draft_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(((logprobs - draft_logprobs) * mask).sum(-1))
    return -(ratio * rewards).mean()


@speculative(
    "speculative-accepted-only",
    "The accepted drafts alone have the law min(pi, q), not normalised: biased, and no baseline is free.",
    r"\frac1G \sum_i 1\{\text{accepted}_i\}\, R_i \nabla\log\pi(y_i)",
    target=None,
    baseline_free=False,
    twin=("accepted * rewards", "rewards"),
)
def speculative_accepted_only(logprobs: Tensor, accepted: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(accepted * rewards * (logprobs * mask).sum(-1)).mean()
