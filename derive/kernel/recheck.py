"""Replay a theorem: every rule that made it is applied again, to the inputs that it recorded. Not trusted by the kernel."""

from __future__ import annotations

from functools import cache
from inspect import signature

from derive.kernel.premises import Premise
from derive.kernel.theorem import RULES, Theorem
from derive.language.errors import RuleError


def recheck(theorem: Theorem) -> int:
    """Replay a theorem and all that it rests on, and return how many rule applications that took.

    Raises
        RuleError, if something is no theorem, was not finished by a rule, rests on itself, or is not what its rule gives.

    >>> from derive.kernel import theorem as kernel
    >>> from derive.notation import constant
    >>> x = constant("x")
    >>> recheck(kernel.symmetry(kernel.algebra(2 * x, x + x)))
    2
    """
    done: dict[int, Theorem] = {}
    open_: set[int] = set()
    stack = [theorem]
    while stack:
        top = stack[-1]
        if id(top) in done:
            stack.pop()
            continue
        waiting = [parent for parent in _parents(top) if id(parent) not in done]
        if waiting and id(top) in open_:
            message = "a theorem rests on itself."
            raise RuleError(message)
        open_.add(id(top))
        stack.extend(waiting)
        if not waiting:
            _replay(top)
            done[id(top)] = stack.pop()
    return len(done)


def _parents(theorem: object) -> list[Theorem]:
    if type(theorem) is not Theorem or any(not hasattr(theorem, name) for name in Theorem.__slots__):
        message = f"a {type(theorem).__name__} that no rule has made stands where a theorem should."
        raise RuleError(message)
    parts = (part for given in theorem.inputs for part in (given if isinstance(given, tuple) else (given,)))
    return [part for part in parts if hasattr(part, "inputs")]


def _replay(theorem: Theorem) -> None:
    rule = RULES.get(theorem.rule)
    if rule is None:
        message = f"the kernel has no rule {theorem.rule!r}."
        raise RuleError(message)
    assumed = frozenset(premise for premise in theorem.assumptions if isinstance(premise, Premise))
    again = rule(*theorem.inputs, **({"assuming": assumed} if _has_premises(theorem.rule) else {}))
    if any(getattr(again, name) != getattr(theorem, name) for name in ("lhs", "rhs", "assumptions", "values_only")):
        message = f"a theorem says something else than its rule {theorem.rule!r} gives."
        raise RuleError(message)


@cache
def _has_premises(rule: str) -> bool:
    return "assuming" in signature(RULES[rule]).parameters
