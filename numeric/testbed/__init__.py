"""A language model of three tokens on which losses are run over every group of samples: of what is one the gradient?

>>> from numeric import testbed
>>> def loss(logprobs, old_logprobs, ref_logprobs, rewards, mask):
...     ratio = ((logprobs - old_logprobs) * mask).sum(-1).exp()
...     k3 = (ref_logprobs - logprobs).exp() - 1 - (ref_logprobs - logprobs)
...     return -(ratio * (rewards - rewards.mean())).mean() + 0.1 * (k3 * mask).sum(-1).mean()
>>> report = testbed.check(loss)
>>> report.verdict, report.targets["reward"].factor, report.divergence
('scaled', 0.66..., 'forward-token-kl')
"""

from numeric.testbed.groups import Mean as Mean, mean_gradient as mean_gradient
from numeric.testbed.match import Match as Match
from numeric.testbed.samples import Samples as Samples, samples_of as samples_of
from numeric.testbed.setting import Point as Point, Setting as Setting, random_point as random_point
from numeric.testbed.targets import TARGETS as TARGETS, Target as Target
from numeric.testbed.verdict import Precision as Precision, Report as Report, check as check

__all__ = [
    "check",
    "Report",
    "Precision",
    "Match",
    "Setting",
    "Point",
    "random_point",
    "Samples",
    "samples_of",
    "mean_gradient",
    "Mean",
    "TARGETS",
    "Target",
]
