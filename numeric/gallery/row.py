"""A row of the gallery: a loss as a library would write it, and of what the mean of its gradient is the gradient.

A row is made by decorating the loss, which reads nothing but its arguments and torch, so that its source stands by itself.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib.resources import files
from typing import Any, TypeAlias

from torch import Tensor

from numeric.testbed.running import Loss
from numeric.testbed.samples import Samples, samples_of
from numeric.testbed.setting import Point, Setting, random_point
from numeric.testbed.targets import TARGETS, Target

Factor: TypeAlias = Callable[[Any, int], float]

POINTS = 5
"""Each row is held against its target at so many random points."""


@dataclass(frozen=True)
class Script:
    """What an exported test is made of.

    Args
        tables  by their names in the test, LOGITS, TOKENS, PREFIXES and MASK among them
        fields  by the argument of a loss: the expression of `logits` and the tables that computes it for every sample
    """

    tables: Mapping[str, Tensor]
    fields: Mapping[str, str]


@dataclass(frozen=True)
class World:
    """Where a row lives: points from seeds, and the samples of a point.

    Args
        shown    in words, for the page
        policy   what draws the samples, as in `numeric.testbed.samples_of`, or another word
        point    of a seed
        samples  of a point
        laws     for an exported test: the laws of the samples of a group, where they are not the sampler's
        script   for an exported test: of a point, where the samples are not the sequences
    """

    shown: str
    policy: str
    point: Callable[[int], Any]
    samples: Callable[[Any], Samples]
    laws: tuple[str, ...] = ()
    script: Callable[[Any], Script] | None = None


@cache
def world(policy: str = "on", setting: Setting | None = None, *, binary: bool = False) -> World:
    """Return the world of the testbed with samples of a policy."""
    place = setting or Setting()
    words = {"on": "samples of the policy", "off": "samples of a behaviour", "top-k": "top-2", "top-p": "top-p, p = 0.75"}
    lengths = f"{'' if place.length == 1 else 'one or '}{('one', 'two')[place.length - 1]} token{'s' * (place.length > 1)}"
    shown = f"{words[policy]}; {lengths if place.ends else 'two tokens'}{'; binary rewards' * binary}"
    return World(shown, policy, lambda seed: random_point(place, seed, binary=binary), lambda point: samples_of(point, policy))


@dataclass(frozen=True)
class Row:
    """A loss and its verdict.

    Args
        name           by which it is found
        page           the page that it stands on
        loss           the code, a function of the tensors of a group
        claim          what comes out, in a sentence
        tex            the estimate, as a formula in LaTeX
        target         of what the mean is the gradient; None where it is that of no target that is named
        by             the factor, a number or a function of the point and the size of the group
        by_tex         the factor as a formula, where it moves
        aim            the target that its users have in mind
        baseline_free  whether a constant added to the rewards leaves the mean
        sizes          the sizes of groups at which all of this is held
        twin           a text in the code and what makes a mistake of it
        same_as        a row that has the same mean
        derivation     an estimator that states it for every law: its name in the catalogue, or in `docs/gallery/formulas.py`
        mixed          whether groups whose rewards are all equal are drawn anew
    """

    name: str
    page: str
    loss: Loss
    claim: str
    tex: str
    target: Target | None
    by: float | Factor
    by_tex: str
    aim: Target
    baseline_free: bool
    sizes: tuple[int, ...]
    twin: tuple[str, str]
    same_as: str
    derivation: str
    world: World
    mixed: bool

    @property
    def constant(self) -> bool:
        """Whether the factor is the same everywhere, for groups of one size."""
        points = [self.world.point(seed) for seed in range(2)]
        return all(math.isclose(*(self.factor(point, size) for point in points)) for size in self.sizes)

    def factor(self, point: Any, size: int) -> float:
        """Return the factor at a point for groups of a size."""
        return float(self.by(point, size)) if callable(self.by) else self.by

    @property
    def verdict(self) -> str:
        """One word: "unbiased", "scaled", "parallel" where the factor moves, "other target", "zero" or "biased"."""
        if self.target is None:
            return "biased"
        if self.target.name == "nothing":
            return "zero"
        if self.target != self.aim:
            return "other target"
        return "unbiased" if self.by == 1 else "scaled" if self.constant else "parallel"

    @property
    def seen(self) -> tuple[str, ...]:
        """What libraries call it, and where, as of a version: their losses with this mean, as `make test-subjects` finds."""
        return tuple(_seen().get(self.name, ()))

    @cached_property
    def source(self) -> str:
        """The code of the loss, without its decorator."""
        text = textwrap.dedent(inspect.getsource(self.loss))
        (function,) = ast.parse(text).body
        return "\n".join(text.splitlines()[function.lineno - 1 :]) + "\n"

    @property
    def wrong_source(self) -> str:
        """The code with the mistake of its twin."""
        return self.source.replace(*self.twin)


@cache
def _seen() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((files("numeric.gallery") / "seen.json").read_text(encoding="utf-8"))
    return found


GALLERY: dict[str, Row] = {}
"""Every row that has been imported, by name; `numeric.gallery.rows` imports all."""


def row(
    name: str,
    claim: str,
    tex: str,
    *,
    page: str,
    twin: tuple[str, str],
    target: str | Target | None = "reward",
    aim: str | Target = "reward",
    by: float | Factor = 1,
    by_tex: str = "",
    baseline_free: bool = True,
    sizes: tuple[int, ...] = (2,),
    same_as: str = "",
    derivation: str = "",
    where: World | None = None,
    mixed: bool = False,
) -> Callable[[Loss], Row]:
    """Return a decorator that makes a row of a loss and puts it into the gallery; the arguments are those of `Row`."""

    def made(loss: Loss) -> Row:
        of, meant = (TARGETS[each] if isinstance(each, str) else each for each in (target, aim))
        found = Row(
            name,
            page,
            loss,
            claim,
            tex,
            of,
            by,
            by_tex,
            meant or TARGETS["reward"],
            baseline_free,
            sizes,
            twin,
            same_as,
            derivation,
            where or world(),
            mixed,
        )
        GALLERY[name] = found
        return found

    return made


Decorator: TypeAlias = partial[Callable[[Loss], Row]]
"""`row` with what the rows of a page have in common."""


def success(point: Point) -> float:
    """Return the probability that a sample of the policy is rewarded, where rewards are 0 or 1."""
    return float(point.sequence_log_probs(point.logits).exp() @ point.rewards)
