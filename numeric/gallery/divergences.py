"""KL to a reference, on policy: which KL a term has the gradient of, once there is more than one token.

x is the log ratio of a token to the reference: k1 = x, k2 = x^2 / 2, k3 = exp(-x) - 1 + x. Nothing is rewarded here.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from numeric.gallery.row import Decorator, row

kl: Decorator = partial(row, page="divergences", aim="kl", sizes=(2,))


@kl(
    "k1-as-loss",
    "The gradient of x is the score, whose mean is zero: no effect at all.",
    r"\frac1G \sum_i \sum_t x_{i,t}",
    target="nothing",
    twin=("log_ratio * mask", "log_ratio**2 * mask"),
)
def k1_as_loss(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    log_ratio = logprobs - ref_logprobs
    return (log_ratio * mask).sum(-1).mean()


@kl(
    "k2-as-loss",
    "Half the squared log ratio of each token: the token KL, the law of the prefixes frozen.",
    r"\frac1G \sum_i \sum_t \tfrac12 x_{i,t}^2",
    target="token-kl",
    derivation="k2_as_loss",
    twin=("/ 2", "/ 1"),
)
def k2_as_loss(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    log_ratio = logprobs - ref_logprobs
    return (log_ratio**2 / 2 * mask).sum(-1).mean()


@kl(
    "k2-of-the-sequence-as-loss",
    "Half the squared log ratio of the whole sequence: the KL of the sequence.",
    r"\frac1G \sum_i \tfrac12 \Big(\sum_t x_{i,t}\Big)^2",
    target="kl",
    derivation="k2_of_the_sequence",
    twin=("* mask).sum(-1)", "* mask).mean(-1)"),
)
def k2_of_the_sequence_as_loss(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    log_ratio = ((logprobs - ref_logprobs) * mask).sum(-1)
    return (log_ratio**2 / 2).mean()


@kl(
    "k3-as-loss",
    "The forward token KL, that of the reference to the policy at each position.",
    r"\frac1G \sum_i \sum_t (e^{-x_{i,t}} - 1 + x_{i,t})",
    target="forward-token-kl",
    twin=("torch.exp(-log_ratio) - 1 + log_ratio", "log_ratio**2 / 2"),
)
def k3_as_loss(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    log_ratio = logprobs - ref_logprobs
    k3 = torch.exp(-log_ratio) - 1 + log_ratio
    return (k3 * mask).sum(-1).mean()


@kl(
    "k1-times-ratio",
    "With the ratio of the token to itself, which is 1 and has the score as its gradient: the token KL, not that of "
    "the sequence.",
    r"\frac1G \sum_i \sum_t \frac{\pi_{i,t}}{\bar\pi_{i,t}}\, x_{i,t}",
    target="token-kl",
    twin=("ratio * k1", "ratio.detach() * k1"),
)
def k1_times_ratio(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    k1 = logprobs - ref_logprobs
    ratio = torch.exp(logprobs - logprobs.detach())
    return (ratio * k1 * mask).sum(-1).mean()


@kl(
    "k2-times-ratio",
    "Its mean is no KL that is named here.",
    r"\frac1G \sum_i \sum_t \frac{\pi_{i,t}}{\bar\pi_{i,t}}\, \tfrac12 x_{i,t}^2",
    target=None,
    twin=("ratio * k2", "ratio.detach() * k2"),
)
def k2_times_ratio(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    k2 = (logprobs - ref_logprobs) ** 2 / 2
    ratio = torch.exp(logprobs - logprobs.detach())
    return (ratio * k2 * mask).sum(-1).mean()


@kl(
    "k3-times-ratio",
    "The token KL, not that of the sequence.",
    r"\frac1G \sum_i \sum_t \frac{\pi_{i,t}}{\bar\pi_{i,t}} (e^{-x_{i,t}} - 1 + x_{i,t})",
    target="token-kl",
    twin=("ratio * k3", "ratio.detach() * k3"),
)
def k3_times_ratio(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    log_ratio = logprobs - ref_logprobs
    k3 = torch.exp(-log_ratio) - 1 + log_ratio
    ratio = torch.exp(logprobs - logprobs.detach())
    return (ratio * k3 * mask).sum(-1).mean()


@kl(
    "k1-times-prefix-product",
    "One word more, the product of the ratios up to the token: the KL of the sequence, exactly.",
    r"\frac1G \sum_i \sum_t \prod_{s \le t} \frac{\pi_{i,s}}{\bar\pi_{i,s}}\, x_{i,t}",
    target="kl",
    twin=(".cumsum(-1)", ""),
)
def k1_times_prefix_product(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    k1 = logprobs - ref_logprobs
    ratio = torch.exp((logprobs - logprobs.detach()).cumsum(-1))
    return (ratio * k1 * mask).sum(-1).mean()


@kl(
    "k3-times-prefix-product",
    "One word more, the product of the ratios up to the token: the KL of the sequence, exactly.",
    r"\frac1G \sum_i \sum_t \prod_{s \le t} \frac{\pi_{i,s}}{\bar\pi_{i,s}} (e^{-x_{i,t}} - 1 + x_{i,t})",
    target="kl",
    twin=(".cumsum(-1)", ""),
)
def k3_times_prefix_product(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    log_ratio = logprobs - ref_logprobs
    k3 = torch.exp(-log_ratio) - 1 + log_ratio
    ratio = torch.exp((logprobs - logprobs.detach()).cumsum(-1))
    return (ratio * k3 * mask).sum(-1).mean()


@kl(
    "k1-in-the-reward",
    "The detached log ratio of the whole sequence times its score: the KL of the sequence.",
    r"\frac1G \sum_i \sum_t x_{i,t}\, \nabla\log\pi_i",
    target="kl",
    derivation="k1_in_the_reward",
    twin=(".detach()", ".square().detach()"),
)
def k1_in_the_reward(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    penalty = ((logprobs - ref_logprobs) * mask).sum(-1).detach()
    return (penalty * (logprobs * mask).sum(-1)).mean()


@kl(
    "k1-in-the-reward-to-go",
    "Each token with the log ratios from it on: the KL of the sequence too.",
    r"\frac1G \sum_i \sum_t \Big(\sum_{s \ge t} x_{i,s}\Big) \nabla\log\pi_{i,t}",
    target="kl",
    derivation="k1_in_the_reward_to_go",
    twin=("penalty.flip(-1).cumsum(-1).flip(-1)", "penalty"),
)
def k1_in_the_reward_to_go(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    penalty = ((logprobs - ref_logprobs) * mask).detach()
    to_go = penalty.flip(-1).cumsum(-1).flip(-1)
    return (to_go * logprobs * mask).sum(-1).mean()


@kl(
    "k1-of-the-own-token",
    "Each token with its own log ratio only: the token KL.",
    r"\frac1G \sum_i \sum_t x_{i,t}\, \nabla\log\pi_{i,t}",
    target="token-kl",
    derivation="k1_of_the_own_token",
    twin=("penalty * logprobs", "penalty * logprobs.sum(-1, keepdim=True)"),
)
def k1_of_the_own_token(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    penalty = ((logprobs - ref_logprobs) * mask).detach()
    return (penalty * logprobs * mask).sum(-1).mean()


@kl(
    "exact-kl-of-the-position",
    "The exact KL of a position does not depend on the token that is drawn there: as its detached penalty it has no effect.",
    r"\frac1G \sum_i \sum_t \overline{\mathrm{KL}_{i,t}}\, \nabla\log\pi_{i,t}",
    target="nothing",
    twin=(".detach()", ""),
)
def exact_kl_of_the_position(logprobs: Tensor, vocabulary: Tensor, ref_vocabulary: Tensor, mask: Tensor) -> Tensor:
    penalty = (vocabulary.exp() * (vocabulary - ref_vocabulary)).sum(-1).detach()
    return (penalty * logprobs * mask).sum(-1).mean()


@kl(
    "exact-kl-from-the-position-on",
    "With the sum over later positions: what a token does to the KL of later ones, which is the sequence KL minus "
    "the token KL.",
    r"\frac1G \sum_i \sum_t \Big(\sum_{s \ge t} \overline{\mathrm{KL}_{i,s}}\Big) \nabla\log\pi_{i,t}",
    target="kl-of-prefixes",
    twin=(".flip(-1).cumsum(-1).flip(-1)", ""),
)
def exact_kl_from_the_position_on(logprobs: Tensor, vocabulary: Tensor, ref_vocabulary: Tensor, mask: Tensor) -> Tensor:
    exact = ((vocabulary.exp() * (vocabulary - ref_vocabulary)).sum(-1) * mask).detach()
    penalty = exact.flip(-1).cumsum(-1).flip(-1)
    return (penalty * logprobs * mask).sum(-1).mean()


@kl(
    "exact-kl-with-the-future",
    "The exact KL of each position, and its detached sum over later ones as a penalty: the KL of the sequence.",
    r"\frac1G \sum_i \sum_t \Big(\mathrm{KL}_{i,t} + \sum_{s > t} \overline{\mathrm{KL}_{i,s}}\, \log\pi_{i,t}\Big)",
    target="kl",
    twin=("exact + penalty", "penalty"),
)
def exact_kl_with_the_future(logprobs: Tensor, vocabulary: Tensor, ref_vocabulary: Tensor, mask: Tensor) -> Tensor:
    exact = (vocabulary.exp() * (vocabulary - ref_vocabulary)).sum(-1) * mask
    penalty = exact.detach().flip(-1).cumsum(-1).flip(-1) * logprobs
    return ((exact + penalty) * mask).sum(-1).mean()


@kl(
    "k3-times-geometric-ratio",
    "The sequence ratio of GSPO, a geometric mean, on the terms of the tokens: neither the KL of the sequence nor "
    "that of the tokens.",
    r"\frac1G \sum_i \Big(\prod_s \frac{\pi_{i,s}}{\bar\pi_{i,s}}\Big)^{1/n_i} \sum_t (e^{-x_{i,t}} - 1 + x_{i,t})",
    target=None,
    twin=(" / mask.sum(-1)", ""),
)
def k3_times_geometric_ratio(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    log_ratio = logprobs - ref_logprobs
    k3 = torch.exp(-log_ratio) - 1 + log_ratio
    ratio = torch.exp(((logprobs - logprobs.detach()) * mask).sum(-1) / mask.sum(-1))
    return (ratio * (k3 * mask).sum(-1)).mean()


@kl(
    "k3-times-sequence-ratio",
    "With the product over the whole sequence, not its geometric mean, it is the KL of the sequence.",
    r"\frac1G \sum_i \prod_s \frac{\pi_{i,s}}{\bar\pi_{i,s}} \sum_t (e^{-x_{i,t}} - 1 + x_{i,t})",
    target="kl",
    twin=("* mask).sum(-1))", "* mask).mean(-1))"),
)
def k3_times_sequence_ratio(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    log_ratio = logprobs - ref_logprobs
    k3 = torch.exp(-log_ratio) - 1 + log_ratio
    ratio = torch.exp(((logprobs - logprobs.detach()) * mask).sum(-1))
    return (ratio * (k3 * mask).sum(-1)).mean()
