"""What is said of a row, measured at its first point: for its page and for the command."""

from __future__ import annotations

import inspect
import math
from typing import Any

from torch import Tensor

from derive.language.errors import UsageError
from numeric.gallery.export import exported
from numeric.gallery.measure import measured
from numeric.gallery.row import Row
from numeric.gallery.rows import GALLERY
from numeric.testbed.groups import mean_gradient
from numeric.testbed.match import angle
from numeric.testbed.running import Loss
from numeric.testbed.samples import samples_of
from numeric.testbed.setting import Point


def measured_row(name: str) -> dict[str, Any]:
    """Return what a page says of a row that must be measured, its facts and its test: a work for `derive.sweep`.

    Raises
        UsageError, if there is no such row.

    >>> sorted(measured_row("token-weight"))
    ['facts', 'test']
    """
    if name not in GALLERY:
        message = f"no row of the gallery is called {name!r}; `gradproof gallery` lists all."
        raise UsageError(message)
    return {"facts": facts(GALLERY[name]), "test": exported(GALLERY[name])}


def facts(row: Row) -> dict[str, str]:
    """Return what is known of a row, by a short name; empty where it does not apply.

    >>> from numeric.gallery.rows import GALLERY
    >>> facts(GALLERY["token-weight"])["gradient of"]
    'the surrogate of conservative policy iteration: one token by the policy, those before and after by the behaviour'
    """
    return {
        "samples": f"{row.world.shown}; {_sizes(row)}",
        "gradient of": row.target.words if row.target else "no target that has a name here",
        "factor": _factor(row),
        "not of": row.aim.words if row.verdict in ("other target", "biased", "zero") else "",
        "as an example": _angle(row),
        "baseline": _baseline(row),
        "variance": _variance(row),
        "seen": "; ".join(row.seen),
    }


def _sizes(row: Row) -> str:
    return f"groups of {' or '.join(map(str, row.sizes))}"


def _factor(row: Row) -> str:
    if row.target is None or row.by == 1:
        return ""
    shown = ", ".join(f"{row.factor(row.world.point(0), size):.4f} at G = {size}" for size in row.sizes)
    return shown if row.constant else f"{shown}; it moves with the policy"


def _angle(row: Row) -> str:
    """Cosine and norm ratio of the mean against the gradient that its users have in mind."""
    if row.verdict == "unbiased":
        return ""
    point = row.world.point(0)
    mean = measured(row, 0, row.sizes[0]).mean
    cosine, ratio = angle(mean.gradient, row.aim.gradient(point, row.world.samples(point).theta))
    if math.isnan(cosine) or ratio < 1e-9:
        return ""
    return f"against the gradient of {row.aim.words}: cosine {cosine:.3f}, norm ratio {ratio:.3f}"


def _baseline(row: Row) -> str:
    if "rewards" not in inspect.signature(row.loss).parameters:
        return ""
    return (
        "a constant in the reward changes nothing"
        if row.baseline_free
        else "not free: a constant in the reward changes the mean"
    )


def _variance(row: Row) -> str:
    """The variance over that of the plain score function of the same aim, both divided by their factors squared."""
    point, size = row.world.point(0), row.sizes[0]
    plain = _plain(row)
    if not isinstance(point, Point) or plain is None:
        return ""
    reference = mean_gradient(plain, samples_of(point), size).variance
    factor = row.factor(point, size) if row.target == row.aim else 1.0
    return f"{measured(row, 0, size).mean.variance / factor**2 / reference:.3f} of the plain score function's"


def _plain(row: Row) -> Loss | None:
    found: dict[str, Loss] = {"reward": _score_function, "kl": _score_of_kl, "entropy": _score_of_entropy}
    return found.get(row.aim.name)


def _score_function(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (logprobs * mask).sum(-1)).mean()


def _score_of_kl(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    penalty = ((logprobs - ref_logprobs) * mask).sum(-1).detach()
    return (penalty * (logprobs * mask).sum(-1)).mean()


def _score_of_entropy(logprobs: Tensor, mask: Tensor) -> Tensor:
    of_sequence = (logprobs * mask).sum(-1)
    return (of_sequence.detach() * of_sequence).mean()
