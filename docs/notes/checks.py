"""The checks of the audit: each function returns a check that is run when a page is generated.

A check either returns evidence or raises `UnsupportedVerdict`; nothing is concluded from a check that was not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache

from derive.estimator import Estimator
from derive.exact import comparison as exact
from derive.kernel.premises import Premise
from derive.kernel.recheck import recheck
from derive.kernel.theorem import Equation, Theorem
from derive.language.errors import GradproofError, NotExact, PremiseError, ScopeError, UsageError
from derive.language.scope import depends, free
from derive.language.term import Expect, FiniteLaw, Over, RandomVariable, Symbol, Term, anywhere, lift
from derive.laws.models import RationalCase
from derive.laws.occurrences import polynomial_places
from derive.notation import grad
from derive.printing import text
from derive.printing.layout import Where
from derive.proofs.calc import calc
from derive.proofs.conversions import Rewrite
from derive.verdicts import prover
from derive.written import writing
from docs.notes.statement import Check, Evidence, UnsupportedVerdict, Witness

OUTCOMES = (2, 3)
Number = Fraction | int


def _fail(message: str) -> UnsupportedVerdict:
    return UnsupportedVerdict(message)


def _words(premises: Iterable[Premise | Equation], where: Where = ()) -> tuple[str, ...]:
    return tuple(text.premises(premises, where))


# Proofs


def chain(start: Term, *steps: tuple[Rewrite, Term], under: tuple[str, ...] = (), where: Where = ()) -> Check:
    """The kernel leads from the first line to the last, by the named rules; what it assumes is part of the evidence."""

    def check() -> Evidence:
        derivation = calc(start, *steps)
        recheck(derivation.theorem)
        rules = ", ".join(rewrite.name.replace("_", " ") for rewrite, _ in steps)
        return _by_kernel(derivation.theorem, f", by {rules}", steps, under, where)

    return check


def theorem(build: Callable[[], Theorem], by: Rewrite | None = None, under: tuple[str, ...] = (), where: Where = ()) -> Check:
    """The kernel makes a theorem, which one rule leads to, if any does; `where` names subterms in print."""

    def check() -> Evidence:
        made = build()
        recheck(made)
        steps = [] if by is None else [(by, made.rhs)]
        if not calc(made.lhs, *steps).theorem.assumptions <= made.assumptions:
            message = f"`{text.render(made.lhs)}` = `{text.render(made.rhs)}` needs more by one step than the theorem does."
            raise _fail(message)
        return _by_kernel(made, "", steps, under, where)

    return check


def _by_kernel(made: Theorem, by: str, steps: Sequence[tuple[Rewrite, Term]], under: tuple[str, ...], where: Where) -> Evidence:
    """Return a proof as a block that anyone can check again, or as one line where the notation has no words for it."""
    assumed = (*under, *_words(made.assumptions, where))
    block, unwritten = (), "it uses a theorem that is proved elsewhere, and a typed derivation has no rule for that"
    if steps:
        try:
            block, unwritten = tuple(writing.block(made.lhs, *steps)), ""
        except UsageError as error:
            unwritten = str(error)
    shown = f"`{text.render(made.lhs, where)}` = `{text.render(made.rhs, where)}`{by}"
    return Evidence("proof", "kernel, line by line" if block else f"kernel: {shown}", assumed, block=block, unwritten=unwritten)


def same(
    left: Term, right: Term, parameter: Symbol, *, outcomes: tuple[int, ...] = OUTCOMES, under: tuple[str, ...] = ()
) -> Check:
    """Both sides are equal in the exact evaluator, for every law on so many outcomes and every integrand."""

    def check() -> Evidence:
        unequal = [k for k in outcomes if not exact.identically_equal(left, right, parameter, k)]
        shown = f"`{text.render(left)}` = `{text.render(right)}`"
        if unequal:
            message = f"{shown} fails on {unequal} outcomes."
            raise _fail(message)
        return Evidence("proof", f"exact evaluator: {shown}, {_scope(left, right, outcomes)}", under)

    return check


def _scope(left: Term, right: Term, outcomes: tuple[int, ...]) -> str:
    """Say for what an exact identity was checked."""
    finite = any(anywhere(side, _over_outcomes) for side in (left, right))
    says = [f"on {' and '.join(map(str, outcomes))} outcomes, for every law"] if finite else []
    if any(True for side in (left, right) for _ in polynomial_places(side)):
        says.append("with unknown functions of a continuous variable read as any polynomials of degree 3")
    return "identically" + "".join(f", {one}" for one in says)


def _over_outcomes(term: Term) -> bool:
    return isinstance(term, (Expect, Over)) and isinstance(term.variable.law, FiniteLaw)


def proved(estimator: Estimator, samples: int | None = None) -> Check:
    """`derive.prove` proves an estimator."""
    return lambda: _proof(estimator, samples)


@lru_cache
def _proof(estimator: Estimator, samples: int | None) -> Evidence:
    verdict = prover.prove(estimator, OUTCOMES, samples)
    if verdict.verdict != "proved":
        message = f"{estimator.name} is {verdict.verdict}, not proved."
        raise _fail(message)
    judged = verdict.estimator
    mean = f"E[`{text.render(judged.formula, judged.where)}`] = `{text.render(judged.target, judged.where)}`"
    says = f"{estimator.name} is proved: {mean}" if samples is None else f"{estimator.name} with {samples} samples is proved"
    return Evidence("proof", f"`derive.prove`: {says}, for {verdict.holds_for}", _words(verdict.assumptions, judged.where))


def confirmed(case: str, left: Number, relation: str, right: Number) -> Check:
    """A relation between two exact numbers is true."""
    return lambda: _confirmed(Witness(case, Fraction(left), relation, Fraction(right)))


def _confirmed(witness: Witness) -> Evidence:
    if not witness.satisfied:
        message = f"{witness.case}: {witness.left} {witness.relation} {witness.right} is false."
        raise _fail(message)
    return Evidence("proof", f"exact: {witness.case}: {witness.left} {witness.relation} {witness.right}")


def needs(premise: str, build: Callable[[], object], says: str) -> Check:
    """A premise is needed: the kernel refuses by its name where nothing else is missing; this supports the statement."""
    return lambda: Evidence("proof", f"{says}: `{_refusal(premise, build)}`")


# Counterexamples, and cases outside of the assumptions


def differs(left: Term, right: Term, parameter: Symbol, says: str = "left side and right side") -> Check:
    """The exact evaluator finds a smallest rational case where two sides differ."""

    def check() -> Evidence:
        found = exact.witness(left, right, parameter)
        if found is None:
            message = f"no case was found where `{text.render(left)}` and `{text.render(right)}` differ."
            raise _fail(message)
        at = ", ".join(f"{name} = {value}" for name, value in found.case.items() if value != "0")
        rest = "all else 0" if at else "everything 0"
        witness = Witness(f"{says} at {at}; {rest}" if at else f"{says} at {rest}", found.left, "=", found.right, found.radius)
        return Evidence("counterexample", f"exact evaluator: `{text.render(left)}` against `{text.render(right)}`", (), witness)

    return check


def numbers(case: str, left: Number, relation: str, right: Number, says: str = "exact values") -> Check:
    """The relation that a statement claims is false at an exact case."""
    return lambda: _violated("counterexample", says, Witness(case, Fraction(left), relation, Fraction(right)))


def outside(case: str, left: Number, relation: str, right: Number, says: str = "a case where an assumption fails") -> Check:
    """Where an assumption fails the statement fails too, at an exact case."""
    return lambda: _violated("outside", says, Witness(case, Fraction(left), relation, Fraction(right)))


def _violated(kind: str, says: str, witness: Witness) -> Evidence:
    if witness.satisfied:
        message = f"{witness.case}: {witness.left} {witness.relation} {witness.right} is true, so it is no counterexample."
        raise _fail(message)
    return Evidence("counterexample" if kind == "counterexample" else "outside", says, (), witness)


def outside_differs(left: Term, right: Term, parameter: Symbol, says: str) -> Check:
    """As `differs`, for a case outside of the assumptions."""
    inner = differs(left, right, parameter, says)

    def check() -> Evidence:
        found = inner()
        return Evidence("outside", found.text, (), found.witness)

    return check


def refused(premise: str, build: Callable[[], object], says: str) -> Check:
    """Without a premise the kernel refuses, by its name."""
    return lambda: Evidence("outside", f"{says}: `{_refusal(premise, build)}`")


def _refusal(premise: str, build: Callable[[], object]) -> str:
    try:
        build()
    except PremiseError as error:
        if premise in str(error):
            return str(error)
        message = f"refused, but not by {premise}: {error}"
        raise _fail(message) from error
    message = f"nothing refuses for {premise}."
    raise _fail(message)


# Ill-formed statements


def unscoped(build: Callable[[], object], says: str) -> Check:
    """The statement cannot be written in our language: a variable is not bound, or a term has no meaning."""

    def check() -> Evidence:
        try:
            build()
        except (ScopeError, NotExact, UsageError) as error:
            return Evidence("malformed", f"{says}: {type(error).__name__}: `{error}`")
        message = f"{says}: the encoding succeeds."
        raise _fail(message)

    return check


def closed(name: str, term: Term) -> None:
    """Demand that a term has no free random variable.

    Raises
        ScopeError, if it has one.
    """
    Estimator(name, term, (), grad(lift(0), Symbol("theta")))


def unbalanced(written: str) -> Check:
    """The brackets of a transcribed formula do not match; `written` keeps only its structure."""

    def check() -> Evidence:
        problem = bracket_problem(written)
        if not problem:
            message = f"the brackets of {written} match."
            raise _fail(message)
        return Evidence("malformed", f"brackets of `{written}`: {problem}", transcribed=True)

    return check


def bracket_problem(written: str) -> str:
    """Return what is wrong with the brackets of a text, "" if nothing.

    >>> bracket_problem("E[E[f]"), bracket_problem("E[f] - (E[f])")
    ('[ is never closed', '')
    """
    pairs, stack = {")": "(", "]": "["}, list[str]()
    for character in written:
        if character in pairs.values():
            stack.append(character)
        elif character in pairs and (not stack or stack.pop() != pairs[character]):
            return f"{character} closes nothing"
    return f"{stack[-1]} is never closed" if stack else ""


def undefined(used: Iterable[str], defined: Iterable[str], says: str) -> Check:
    """A name is used that nothing before it defines or binds."""

    def check() -> Evidence:
        missing = sorted(set(used) - set(defined))
        if not missing:
            message = f"{says}: every name is defined."
            raise _fail(message)
        return Evidence("malformed", f"{says}: not defined or bound there: {', '.join(missing)}", transcribed=True)

    return check


def two_meanings(name: str, meanings: Mapping[str, object], says: str) -> Check:
    """One name is given two meanings that are not equal."""

    def check() -> Evidence:
        if len(set(meanings.values())) < 2:
            message = f"{says}: {name} has one meaning."
            raise _fail(message)
        return Evidence("malformed", f"{says}: {name} stands for {' and for '.join(meanings)}", transcribed=True)

    return check


def wrong_reference(number: str, wanted: str, defines: Mapping[str, str]) -> Check:
    """A cross-reference leads to an equation that defines something else."""

    def check() -> Evidence:
        if defines[number] == wanted:
            message = f"equation ({number}) does define {wanted}."
            raise _fail(message)
        right = ", ".join(f"({key})" for key, value in defines.items() if value == wanted)
        says = f"equation ({number}) defines {defines[number]}; {wanted} is defined by {right}"
        return Evidence("malformed", says, transcribed=True)

    return check


def not_summable(variable: RandomVariable) -> Check:
    """A sum runs over a variable whose law is continuous."""

    def check() -> Evidence:
        kind = type(variable.law).__name__
        if kind == "FiniteLaw":
            message = f"{variable.name} is finite."
            raise _fail(message)
        return Evidence("malformed", f"a sum over {variable.name}, whose law is a {kind}: its support is not countable")

    return check


def without(term: Term, leaf: Symbol | RandomVariable, says: str) -> Check:
    """A term does not depend on a variable."""

    def check() -> Evidence:
        if depends(term, leaf):
            message = f"{text.render(term)} depends on {leaf.name}."
            raise _fail(message)
        names = ", ".join(sorted(one.name for one in free(term))) or "none"
        return Evidence("proof", f"{says}: the free variables of `{text.render(term)}` are {names}")

    return check


def read(says: str) -> Check:
    """No machine checked this."""
    return lambda: Evidence("reading", f"checked by reading: {says}")


# Values


def value(term: Term, **symbols: Number) -> Fraction:
    """Return the exact value of a closed term.

    >>> from derive.notation import E, uniform
    >>> u = uniform("u")
    >>> value(E(u**2, u))
    Fraction(1, 3)
    """
    case = RationalCase({name: Fraction(number) for name, number in symbols.items()})
    closed_term = Estimator("value", term, (), grad(lift(0), Symbol("theta")))
    return exact.mean_and_variance_at(closed_term, case, outcomes=2)[0]


def moments(estimator: Estimator, case: RationalCase | None = None, **symbols: Number) -> tuple[Fraction, Fraction]:
    """Return the exact mean and variance of an estimator at a case, or where nothing but symbols has a value."""
    at = case or RationalCase({name: Fraction(number) for name, number in symbols.items()})
    return exact.mean_and_variance_at(estimator, at)


def needed_error(build: Callable[[], object], says: str) -> Check:
    """Something is refused as bad input, which supports the statement's condition: a case outside of the assumptions."""

    def check() -> Evidence:
        try:
            build()
        except GradproofError as error:
            return Evidence("outside", f"{says}: {type(error).__name__}: `{error}`")
        message = f"{says}: nothing refuses."
        raise _fail(message)

    return check
