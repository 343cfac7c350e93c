"""Distillation: the reference is a teacher, and the question is which KL to it is made smaller, over whose prefixes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor

from numeric.gallery.row import Decorator, row, world
from numeric.testbed.samples import Samples, samples_of
from numeric.testbed.setting import Point
from numeric.testbed.targets import TARGETS, Target, prefix_law

distil: Decorator = partial(row, page="distillation", aim="kl")


def _by_teacher(point: Point) -> Samples:
    return replace(samples_of(point), law=point.sequence_log_probs(point.reference).exp())


def _by_both(point: Point) -> Samples:
    laws = (point.sequence_log_probs(each).exp() for each in (point.logits, point.reference))
    return replace(samples_of(point), laws=tuple(laws))


ON = world()
TEACHER = replace(ON, shown="samples of the teacher; one or two tokens", samples=_by_teacher, laws=("law(REFERENCE)",))
BOTH = replace(
    ON,
    shown="one sample of the policy, one of the teacher; one or two tokens",
    samples=_by_both,
    laws=("law(LOGITS)", "law(REFERENCE)"),
)


def _jensen_shannon(point: Point, logits: Tensor) -> Tensor:
    student, teacher = logits.softmax(-1), point.reference.softmax(-1)
    middle = ((student + teacher) / 2).log()
    parts = student * (student.log() - middle) + teacher * (teacher.log() - middle)
    return (prefix_law(point.logits) * parts.sum(-1)).sum() / 2


def _half_and_half(point: Point, logits: Tensor) -> Tensor:
    return (TARGETS["forward-token-kl"].value(point, logits) + TARGETS["forward-kl"].value(point, logits)) / 2


TOKEN_JSD = Target(
    "token-jsd",
    "the Jensen-Shannon divergence at each position, the law of the prefixes frozen",
    r"\sum_t \mathbb{E}_{\bar\pi_{<t}}[\mathrm{JSD}(\pi_t, \pi_{\mathrm{ref},t})]",
    _jensen_shannon,
    1,
)
MIXED = Target(
    "mixed",
    "half the forward token KL over the policy's prefixes, the law of the prefixes frozen, and half the forward KL "
    "of the sequence",
    r"\tfrac12 \sum_t \mathbb{E}_{\bar\pi_{<t}}[\mathrm{KL}_t] + \tfrac12 \mathrm{KL}(\pi_{\mathrm{ref}} \,\|\, \pi)",
    _half_and_half,
    1,
)


@distil(
    "reverse-of-the-vocabulary",
    "The reverse KL of the full vocabulary at each position of the policy's samples: the token KL; what a token does "
    "to the KL of later ones "
    "is left out.",
    r"\frac1G \sum_i \sum_t \mathrm{KL}(\pi_{i,t} \,\|\, \pi_{\mathrm{ref},i,t})",
    target="token-kl",
    twin=("vocabulary.exp()", "vocabulary.exp().detach()"),
)
def reverse_of_the_vocabulary(vocabulary: Tensor, ref_vocabulary: Tensor, mask: Tensor) -> Tensor:
    divergence = (vocabulary.exp() * (vocabulary - ref_vocabulary)).sum(-1)
    return (divergence * mask).sum(-1).mean()


@distil(
    "reverse-of-the-sampled-token",
    "The teacher's log-probability minus the policy's as the advantage of the token that was sampled: the token KL too.",
    r"\frac1G \sum_i \sum_t (\log\pi_{\mathrm{ref},i,t} - \overline{\log\pi_{i,t}}) \nabla\log\pi_{i,t}",
    target="token-kl",
    same_as="reverse-of-the-vocabulary",
    twin=("ref_logprobs - logprobs.detach()", "ref_logprobs"),
)
def reverse_of_the_sampled_token(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    advantages = ref_logprobs - logprobs.detach()
    return -(advantages * logprobs * mask).sum(-1).mean()


@distil(
    "reverse-of-the-sequence",
    "The same advantage summed from the token on: the KL of the sequence.",
    r"\frac1G \sum_i \sum_t \Big(\sum_{s \ge t} (\log\pi_{\mathrm{ref},i,s} - \overline{\log\pi_{i,s}})\Big) "
    r"\nabla\log\pi_{i,t}",
    target="kl",
    twin=(".flip(-1).cumsum(-1).flip(-1)", ".cumsum(-1)"),
)
def reverse_of_the_sequence(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    advantages = ((ref_logprobs - logprobs.detach()) * mask).flip(-1).cumsum(-1).flip(-1)
    return -(advantages * logprobs * mask).sum(-1).mean()


@distil(
    "forward-on-the-policy",
    "The forward KL of the full vocabulary at each position of the policy's samples: the forward token KL, the law "
    "of the prefixes frozen.",
    r"\frac1G \sum_i \sum_t \mathrm{KL}(\pi_{\mathrm{ref},i,t} \,\|\, \pi_{i,t})",
    target="forward-token-kl",
    aim="forward-kl",
    twin=("ref_vocabulary.exp()", "vocabulary.exp()"),
)
def forward_on_the_policy(vocabulary: Tensor, ref_vocabulary: Tensor, mask: Tensor) -> Tensor:
    divergence = (ref_vocabulary.exp() * (ref_vocabulary - vocabulary)).sum(-1)
    return (divergence * mask).sum(-1).mean()


@distil(
    "forward-on-the-teacher",
    "Cross-entropy on the teacher's samples: the forward KL of the sequence, exactly.",
    r"-\frac1G \sum_i \sum_t \log\pi_{i,t},\quad y_i \sim \pi_{\mathrm{ref}}",
    target="forward-kl",
    aim="forward-kl",
    where=TEACHER,
    twin=(".sum(-1)", ".mean(-1)"),
)
def forward_on_the_teacher(logprobs: Tensor, mask: Tensor) -> Tensor:
    return -(logprobs * mask).sum(-1).mean()


@distil(
    "forward-on-both",
    "The forward KL of the full vocabulary on samples of policy and teacher: of the first the forward token KL, of "
    "the second that of the "
    "sequence.",
    r"\frac1G \sum_i \sum_t \mathrm{KL}(\pi_{\mathrm{ref},i,t} \,\|\, \pi_{i,t}),\quad y_1 \sim \pi,\ y_2 \sim "
    r"\pi_{\mathrm{ref}}",
    target=MIXED,
    aim="forward-kl",
    where=BOTH,
    twin=("ref_vocabulary.exp()", "vocabulary.exp()"),
)
def forward_on_both(vocabulary: Tensor, ref_vocabulary: Tensor, mask: Tensor) -> Tensor:
    divergence = (ref_vocabulary.exp() * (ref_vocabulary - vocabulary)).sum(-1)
    return (divergence * mask).sum(-1).mean()


@distil(
    "jensen-shannon-on-the-policy",
    "The Jensen-Shannon divergence of the full vocabulary: its token form, the law of the prefixes frozen.",
    r"\frac1G \sum_i \sum_t \mathrm{JSD}(\pi_{i,t}, \pi_{\mathrm{ref},i,t})",
    target=TOKEN_JSD,
    twin=("+ ref_vocabulary.exp() * (ref_vocabulary - middle)", ""),
)
def jensen_shannon_on_the_policy(vocabulary: Tensor, ref_vocabulary: Tensor, mask: Tensor) -> Tensor:
    middle = ((vocabulary.exp() + ref_vocabulary.exp()) / 2).log()
    parts = vocabulary.exp() * (vocabulary - middle) + ref_vocabulary.exp() * (ref_vocabulary - middle)
    return (parts.sum(-1) / 2 * mask).sum(-1).mean()
