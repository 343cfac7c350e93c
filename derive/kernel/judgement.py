"""What a theorem is, and how a rule makes one. TRUSTED."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from derive.kernel.premises import Assuming, Premise, require
from derive.language.errors import RuleError
from derive.language.scope import alpha_equal, scoped
from derive.language.shown import Shown, Symbolic
from derive.language.term import Expect, Grad, Over, Score, Stop, Term, parts, rebuild

KEY = object()
Path = tuple[int, ...]


@dataclass(frozen=True)
class Equation(Shown):
    """An equation that a user assumed, as it stands left of the turnstile."""

    lhs: Term
    rhs: Term


class Theorem(Symbolic):
    """assumptions |- lhs = rhs, with the rule and the inputs that made it. Only the rules of `derive.kernel.theorem` make one.

    `values_only` says that it claims less: both sides are equal, and their derivatives need not be.

    Raises
        RuleError, on any attempt to construct, change, subclass, copy or unpickle a theorem.
        ScopeError, if a variable is bound inside the scope of another whose law depends on it.
    """

    __slots__ = ("assumptions", "inputs", "lhs", "rhs", "rule", "values_only")
    assumptions: frozenset[Premise | Equation]
    lhs: Term
    rhs: Term
    rule: str
    inputs: tuple[Any, ...]
    values_only: bool

    def __init__(
        self,
        key: object,
        lhs: Term,
        rhs: Term,
        rule: str,
        inputs: tuple[Any, ...],
        assumptions: Iterable[Premise | Equation],
        *,
        values_only: bool = False,
    ) -> None:
        if key is not KEY:
            refuse("a theorem is made by a rule of the kernel, not by its constructor.")
        known = scoped(lhs), scoped(rhs), rule, inputs, values_only
        for name, value in zip(("lhs", "rhs", "rule", "inputs", "values_only"), known, strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "assumptions", frozenset(assumptions))

    def __repr__(self) -> str:
        return f"<Theorem by {getattr(self, 'rule', None)}>"

    def __init_subclass__(cls) -> None:
        refuse("Theorem cannot be subclassed.")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        refuse(f"a theorem cannot be changed: {name!r} stays as it is.")

    def __delattr__(self, name: str) -> NoReturn:
        refuse(f"a theorem cannot be changed: {name!r} stays as it is.")

    def __reduce__(self) -> NoReturn:
        refuse("a theorem cannot be copied or pickled: replay its derivation instead.")


def concluded(
    lhs: Term, rhs: Term, rule: str, inputs: tuple[Any, ...], premises: Iterable[Premise], assuming: Assuming
) -> Theorem:
    """Make a theorem of a rule that has premises: it rests on those that could not be decided."""
    return Theorem(KEY, lhs, rhs, rule, inputs, require(rule, premises, assuming))


def refuse(message: str) -> NoReturn:
    """Refuse to make a theorem.

    Raises
        RuleError, always.
    """
    raise RuleError(message)


def checked(*theorems: object) -> None:
    """Refuse an input that is no theorem, or one that no rule has finished."""
    for theorem in theorems:
        if type(theorem) is not Theorem or not hasattr(theorem, "assumptions"):
            refuse(f"a rule takes theorems, not a {type(theorem).__name__}.")


def plugged(term: Term, replaced: tuple[tuple[Path, Theorem], ...]) -> Term:
    """Return the term with the right side of each theorem at its path, where its left side must stand.

    Raises
        RuleError, as `derive.kernel.theorem.congruence`.
    """
    if len(replaced) == 1 and not replaced[0][0]:
        theorem = replaced[0][1]
        if not alpha_equal(term, theorem.lhs):
            refuse("congruence: the left side of the theorem does not stand at the path.")
        return theorem.rhs
    children = list(parts(term))
    in_law = len(children) - 1 if isinstance(term, (Expect, Over)) else 0
    below: dict[int, list[tuple[Path, Theorem]]] = {}
    for path, theorem in replaced:
        if not path:
            refuse("congruence: one place stands inside another.")
        below.setdefault(path[0], []).append((path[1:], theorem))
    for index, inside in below.items():
        if not in_law <= index < len(children):
            refuse("congruence: the path leads out of the term, or into the law of a bound variable.")
        children[index] = plugged(children[index], tuple(inside))
    return rebuild(term, tuple(children))


def only_in_value(term: Term, path: Path) -> bool:
    """Whether a term with another part of equal value is equal in value only: under a stop it is equal in full.

    Raises
        RuleError, if a derivative of the part is taken, in the body of a gradient or in the law of a score.
    """
    if not path:
        return True
    children = parts(term)
    if not only_in_value(children[path[0]], path[1:]):
        return False
    if isinstance(term, Grad) or (isinstance(term, Score) and path[0] < len(children) - 1):
        refuse("congruence: equality of values only says nothing of the derivative that is taken here.")
    return not isinstance(term, Stop)
