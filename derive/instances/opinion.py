"""The opinion of the instances on an equation: agree, differ or silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from derive.instances.charts import Rule
from derive.instances.errors import Unreadable
from derive.instances.evaluate import Evaluator
from derive.instances.instance import Instance, needs_of
from derive.language.term import Term

_RULES = (Rule(0.22, 0.5, 1.0), Rule(0.171, 0.13, 0.93))
_FINE = (Rule(1.5, 0.0, 1.0, order=12, kind=np.longdouble), Rule(1.9, 0.0, 0.95, order=16, kind=np.longdouble))
_SEPARATION = 1e-6
_ROUNDING = 1e-11


@dataclass(frozen=True)
class Opinion:
    """What random instances say of an equation.

    Args
        verdict   "agree" (at least two instances were evaluated, and on each the sides are equal within the error), "differ"
                  (on one they are not, by far, and by a second computation too), or "silent"
        reason    why, in a sentence
        instance  of the instance where the sides differ: what every name stands for, by name, so that it can be repeated
        left      the value of the left side on the last instance, None where there is none
        right     that of the right side
        error     how far the values may be off
        trivial   whether both sides were zero on every instance
        count     on how many instances the sides were evaluated
    """

    verdict: Literal["agree", "differ", "silent"]
    reason: str
    instance: Mapping[str, str] = field(default_factory=dict)
    left: float | None = None
    right: float | None = None
    error: float = 0.0
    trivial: bool = False
    count: int = 0


@dataclass(frozen=True)
class Values:
    """Both sides on an instance, with an error that no side exceeds by much."""

    left: float
    right: float
    error: float

    @property
    def size(self) -> float:
        return max(abs(self.left), abs(self.right))

    @property
    def gap(self) -> float:
        return abs(self.left - self.right)

    @property
    def separated(self) -> bool:
        """Whether the sides differ by far more than the error and by more than a millionth."""
        return self.gap > 1000 * self.error and self.gap > _SEPARATION * self.size

    @property
    def equal(self) -> bool:
        """Whether the sides are equal within the error."""
        return self.gap <= 10 * self.error + 1e-10 * self.size

    @property
    def read(self) -> bool:
        """Whether the values are known well enough to be compared."""
        return self.error <= 1e-5 * self.size or self.error <= 1e-7


def compare(left: Term, right: Term, *, assumptions: Iterable[Any] = (), seed: int = 0, instances: int = 4) -> Opinion:
    """Compare two terms on random instances of their laws, functions and numbers.

    Args
        left, right  the terms; a free random variable stands for any value of its support
        assumptions  premises by which the instances are chosen: `NonZero`, `Positive` and `SupportFixed` are read by name,
                     and an `Equation` must hold on an instance; others are taken for granted
        seed         chooses the instances
        instances    how many are evaluated

    >>> from derive.language.notation import E, finite, function, grad, parameter, score
    >>> theta, f = parameter("theta"), function("f")
    >>> b = finite("b", theta)
    >>> compare(grad(E(f(b), b), theta), E(f(b) * score(b), b)).verdict
    'agree'
    >>> compare(grad(E(f(b), b), theta), E(f(b) * score(b) ** 2, b)).verdict
    'differ'
    """
    given = tuple(assumptions)
    needs = needs_of((left, right), given)
    found: list[Values] = []
    reasons: list[str] = []
    for number in range(3 * instances):
        instance = Instance(seed, number, needs)
        try:
            _demand_assumptions(instance, given)
            values = measure(instance, left, right, _RULES)
            if values.separated:
                return _differ(instance, left, right, len(found))
        except Unreadable as error:
            reasons.append(str(error))
            continue
        if not values.read or not values.equal:
            reasons.append("an integral is not known well enough.")
            continue
        found.append(values)
        if len(found) == instances:
            break
    return _agreed(found) if len(found) >= 2 else Opinion("silent", reasons[-1] if reasons else "too few instances.")


def _agreed(found: list[Values]) -> Opinion:
    last = found[-1]
    trivial = all(values.size <= max(values.error, 1e-12) for values in found)
    reason = f"both sides are equal on {len(found)} instances."
    return Opinion("agree", reason, {}, last.left, last.right, max(v.error for v in found), trivial, len(found))


def _differ(instance: Instance, left: Term, right: Term, before: int) -> Opinion:
    """Confirm a difference by other rules and in longer numbers.

    Raises
        Unreadable, if it is not confirmed.
    """
    coarse, fine = measure(instance, left, right, _RULES), measure(instance, left, right, _FINE)
    drift = abs(coarse.left - fine.left) + abs(coarse.right - fine.right)
    confirmed = Values(fine.left, fine.right, max(fine.error, drift))
    if not confirmed.separated:
        message = "two computations of one side do not agree."
        raise Unreadable(message)
    reason = f"on an instance the left side is {fine.left:.12g} and the right side {fine.right:.12g}."
    return Opinion("differ", reason, instance.text(), fine.left, fine.right, confirmed.error, count=before + 1)


def measure(instance: Instance, left: Term, right: Term, rules: tuple[Rule, Rule]) -> Values:
    """Return both sides on an instance, by two rules, whose difference is the error.

    Raises
        Unreadable, if a side has no value.
    """
    evaluators = [Evaluator(instance, rule) for rule in rules]
    lefts = [evaluator.value(left) for evaluator in evaluators]
    rights = [evaluator.value(right) for evaluator in evaluators]
    rounding = _ROUNDING * max(evaluator.scale for evaluator in evaluators) * (rules[0].kind is np.float64)
    error = abs(lefts[0] - lefts[1]) + abs(rights[0] - rights[1]) + rounding
    return Values(float(lefts[0]), float(rights[0]), float(error))


def _demand_assumptions(instance: Instance, assumptions: tuple[Any, ...]) -> None:
    for premise in assumptions:
        match type(premise).__name__:
            case "Positive":
                _demand(Evaluator(instance, _RULES[0]).value(premise.term) > 0, premise)
            case "NonZero":
                _demand(abs(Evaluator(instance, _RULES[0]).value(premise.term)) > 1e-6, premise)
            case "Equation":
                values = measure(instance, premise.lhs, premise.rhs, _RULES)
                _demand(values.gap <= 10 * values.error + 1e-9 * values.size, premise)


def _demand(condition: bool, premise: object) -> None:
    if not condition:
        message = f"the assumption {type(premise).__name__} does not hold on the instance."
        raise Unreadable(message)
