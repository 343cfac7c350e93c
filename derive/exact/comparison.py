"""The judge: exact comparison of two formulas, and exact means and variances.

A comparison reads both sides in a generic model, where every probability, score, function value and moment is an unknown, and
tests whether the difference is zero wherever the unknowns satisfy what they must. Zero is a proof for every law on so many
outcomes and for every integrand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from derive.exact.decided import decided
from derive.exact.evaluate import Reader
from derive.exact.extension import Extension, extension
from derive.exact.jumps import split_at_jumps
from derive.exact.outcomes import written_out
from derive.exact.series import refute
from derive.exact.views import View, viewed
from derive.exact.witness import Witness, find, value_at, vanishes
from derive.language.depth import refuse_deep
from derive.language.errors import NotEvaluable, UsageError
from derive.language.term import (
    Apply,
    Expect,
    FiniteLaw,
    Grad,
    Mul,
    Number,
    Over,
    Score,
    Symbol,
    Term,
    anywhere,
    parts,
    subterms,
)
from derive.laws.models import Case, EnclosedModel, RationalCase, RationalModel
from derive.laws.occurrences import holds_for, variables
from derive.numbers.enclosures import Enclosure, enclosed
from derive.numbers.formula import Formula
from derive.numbers.ring import Scalar, fraction, is_exact, precision

if TYPE_CHECKING:
    from derive.language.estimator import Estimator

DEGREE, BITS = 3, 128
COMPARED = 9
_FREE = {"symbol", "function", "probability", "score", "outcome"}


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Args
        zero         whether the sides are equal: then it is a proof for every law on so many outcomes
        conclusive   whether the answer stands: False where they differ as long as exp, log and moments are taken as unknown,
                     and no case was found where enclosures of both sides are apart; on the points of a base measure, where no
                     normal law was found for which they differ (`derive.exact.series`)
        difference   left minus right, as readable text
        outcomes     the number of outcomes of every finite law
        reading      how the terms were read, which is for what a proof holds
        scale        c where the sides differ, but left = c right for every law on so many outcomes
        trivial      whether both sides are zero, so that nothing was tested
        extension    on how many outcomes an identity must hold so that it holds on any number; None where they differ
        for_all      for what it holds then
    """

    zero: bool
    conclusive: bool
    difference: str
    outcomes: int
    reading: str = ""
    scale: Fraction | str | None = None
    trivial: bool = False
    extension: Extension | None = None
    for_all: str = ""


@dataclass(frozen=True)
class Variance:
    """The variance of an estimator, as a formula and at a point.

    >>> from derive.catalogue import catalogue
    >>> half = Fraction(1, 2)
    >>> variance(catalogue["score-function"], 2).at(RationalCase.finite((half, half), (1, -1), f=(0, 1)))
    Fraction(1, 1)
    """

    written: Formula
    _at: Callable[[RationalCase], Fraction]
    reading: str = ""

    @property
    def formula(self) -> str:
        """The variance as text."""
        return self.written.text(limit=1000)

    def at(self, case: RationalCase) -> Fraction:
        """Return the variance at a rational case.

        Raises
            UsageError, if the case leaves a value open that is needed.
        """
        return self._at(case)


def identically_equal(left: Term, right: Term, parameter: Symbol, outcomes: int, *, degree: int = COMPARED) -> bool:
    """Whether two terms are equal for every law on so many outcomes, every integrand, every relaxation.

    Args
        left, right   the terms; a free random variable stands for any value of its support
        parameter     the symbol that moves under every `Grad` and `Score`
        outcomes      the number of outcomes of every finite law
        degree        the degree of a function of a normal or uniform variable
    Raises
        NotEvaluable, if a term has no finite, relaxed or Gaussian reading.
        TooLarge, if the enumeration is not feasible.
    Source
        DESIGN.md, "The exact evaluator"

    >>> from derive.notation import E, finite, function, grad, parameter, score
    >>> theta = parameter("theta")
    >>> b, f = finite("b", theta), function("f")
    >>> identically_equal(grad(E(f(b), b), theta), E(f(b) * score(b), b), theta, 3)
    True
    """
    return compare(left, right, parameter, outcomes, degree=degree).zero


def readable(term: Term) -> Term:
    """Return a term as it is read: both sides of a jump, explicit finite laws written out, what noise decides drawn itself."""
    refuse_deep(term, "mean or target")
    return decided(written_out(split_at_jumps(term)))


def compare(left: Term, right: Term, parameter: Symbol, outcomes: int, *, degree: int = COMPARED) -> Comparison:
    """Compare two terms; arguments and errors as `identically_equal`.

    >>> from derive.notation import E, constant, finite, parameter, score
    >>> theta, c = parameter("theta"), constant("c")
    >>> b = finite("b", theta)
    >>> compare(E(c + score(b), b), c + 1, theta, 2).difference
    '-1'
    """
    left, right = readable(left), readable(right)

    def judge(view: View) -> Comparison:
        for first, second in view.values:
            top, bottom = view.relations.clear([first - second, view.model.one])
            if top != 0:
                conclusive = _refutes(view, top, (first, second), (left, right), parameter)
                scale = _ratio(view, (left, right))
                return Comparison(False, conclusive, view.text(top, bottom), outcomes, view.reading, scale)
        trivial = all(vanishes(view.model, view.relations, side) for pair in view.values for side in pair)
        return Comparison(True, True, "0", outcomes, view.reading, None, trivial, *_extension(view, (left, right)))

    return viewed((left, right), parameter, outcomes, degree, judge)


def _extension(view: View, terms: tuple[Term, Term]) -> tuple[Extension, str]:
    degree, nodes = view.reader.degree, view.reader.nodes
    if view.reader.polynomial:
        reason = f"functions of a continuous variable were read as polynomials of degree {degree}"
        return Extension(None, reason), ""
    return extension(terms, nodes=nodes), holds_for(terms, None, degree, nodes=nodes)


def check(estimator: Estimator, outcomes: int, *, degree: int = COMPARED) -> Comparison:
    """Compare the mean of an estimator with its target; errors as `identically_equal`.

    >>> from derive.catalogue import catalogue
    >>> check(catalogue["rebar"], 2).zero
    True
    """
    return compare(estimator.expectation, estimator.target, estimator.parameter, outcomes, degree=degree)


def scale(estimator: Estimator, outcomes: int, *, degree: int = COMPARED) -> Fraction | str | None:
    """Return c where the mean is c times the target for every law, None if there is no such c or it is 1.

    A number, or as text a formula of constants and of functions that no random variable is an argument of.

    Raises
        NotEvaluable, TooLarge, as `identically_equal`.

    >>> from derive.estimator import Estimator
    >>> from derive.notation import E, finite, function, grad, parameter, score
    >>> theta = parameter("theta")
    >>> b, f = finite("b", theta), function("f")
    >>> scale(Estimator("twice", 2 * f(b) * score(b), (b,), grad(E(f(b), b), theta)), 2)
    Fraction(2, 1)
    """
    return check(estimator, outcomes, degree=degree).scale


def _ratio(view: View, terms: tuple[Term, Term]) -> Fraction | str | None:
    """Return c where all left sides are c times the right ones; 0 and 1 where all are."""
    ratios: set[Fraction | str | None] = set()
    for pair in view.values:
        left, right = view.relations.clear(list(pair))
        number = None if right == 0 else view.model.ring.ratio(left, right)
        ratios.add(_constant_ratio(view, left, right, terms) if number is None and right != 0 else number)
    return ratios.pop() if len(ratios) == 1 else None


def _constant_ratio(view: View, mean: Scalar, target: Scalar, terms: tuple[Term, Term]) -> str | None:
    """Return a quotient as text where only constants are left of it, None where an unknown of a law or an integrand is."""
    ring, constants = view.model.ring, {name for term in terms for name in _names_of_constants(term)}
    if not ring.is_simple((mean, target)):
        return None
    top, bottom = ring.lowest(mean, target)
    keys = [ring.keys[index] for index in {*ring.used(top), *ring.used(bottom)}]
    is_constant = all(key.kind == "symbol" or (key.kind == "function" and key.name in constants) for key in keys)
    moves = any(key.kind == "function" or key.name == view.model.parameter for key in keys)
    return view.text(top, bottom) if is_constant and not (moves and _is_known(terms)) else None


def _is_known(terms: tuple[Term, Term]) -> bool:
    """Whether the integrand is one function: its mean is a multiple of any other one, by a factor that moves."""
    applied = (part for term in terms for part in subterms(term) if isinstance(part, Apply))
    return not any(True for part in applied for _ in variables(part))


def _names_of_constants(term: Term) -> Iterator[str]:
    """Yield the names of functions without a random variable among their arguments."""
    if isinstance(term, Apply) and not any(True for _ in variables(term)):
        yield term.function.name
    for part in parts(term):
        yield from _names_of_constants(part)


def witness(left: Term, right: Term, parameter: Symbol, outcomes: int = 3, *, degree: int = COMPARED) -> Witness | None:
    """Return a smallest rational case where two terms differ, None if there is none with up to so many outcomes.

    The fewest outcomes come first, then the simplest probabilities, then the fewest values that are not zero. Where exp or log
    occur, the two values are enclosed by ball arithmetic and known up to `radius`.

    Raises
        NotEvaluable, TooLarge, as `identically_equal`.

    >>> from derive.notation import E, finite, function, parameter, score
    >>> theta = parameter("theta")
    >>> b, f = finite("b", theta), function("f")
    >>> found = witness(E(f(b) * score(b), b), E(f(b), b) * 0, theta)
    >>> found.left, found.right
    (Fraction(1, 1), Fraction(0, 1))
    """
    left, right = readable(left), readable(right)

    def search(view: View) -> Witness | None:
        if view.reader.nodes:
            return refute(left, right, parameter)
        found = (find(view.model, view.relations, *pair) for pair in view.values)
        return next((one for one in found if one is not None), None)

    cases = (viewed((left, right), parameter, count, degree, search) for count in range(2, outcomes + 1))
    return next((case for case in cases if case is not None), None)


def variance(estimator: Estimator, outcomes: int, *, degree: int = DEGREE) -> Variance:
    """Return the exact variance E[g^2] - E[g]^2; errors as `identically_equal`.

    >>> from derive.catalogue import catalogue
    >>> variance(catalogue["score-function"], 1).formula
    '0'
    """
    square, mean = written_out(second_moment(estimator)), written_out(estimator.expectation)

    def formula(view: View) -> tuple[Formula, str]:
        top, bottom = view.relations.clear([view.values[0][0] - view.values[0][1] ** 2, view.model.one])
        return view.formula(top, bottom).normalised(), view.reading

    def at(case: RationalCase) -> Fraction:
        return mean_and_variance_at(estimator, case, outcomes=outcomes, degree=degree)[1]

    written, reading = viewed((square, mean), estimator.parameter, outcomes, degree, formula)
    return Variance(written, at, reading)


def value(term: Term, parameter: Symbol, outcomes: int, *, degree: int = COMPARED) -> Formula:
    """Return a term without free random variables as a formula; arguments and errors as `identically_equal`.

    Raises
        UsageError, if it has a free random variable.

    >>> from derive.notation import E, finite, function, parameter, score
    >>> theta = parameter("theta")
    >>> b, f = finite("b", theta), function("f")
    >>> value(E(f(b) * score(b), b), theta, 2).text()
    'p(1)*score(1)*(f(1) - f(2))'
    """

    def formula(view: View) -> Formula:
        if len(view.values) != 1:
            message = "a value that depends on an outcome is no formula: take the expectation over its random variables."
            raise UsageError(message)
        return view.formula(*view.relations.clear([view.values[0][0], view.model.one])).normalised()

    return viewed((readable(term), Number(Fraction(0))), parameter, outcomes, degree, formula)


def second_moment(estimator: Estimator) -> Term:
    """Return E[formula^2] over the draws, the first one outermost."""
    result: Term = Mul((estimator.formula, estimator.formula))
    for variable in reversed(estimator.draws):
        result = Expect(result, variable)
    return result


def mean_and_variance_at(
    estimator: Estimator, case: RationalCase, *, outcomes: int | None = None, degree: int = DEGREE
) -> tuple[Fraction, Fraction]:
    """Return the exact mean and variance of an estimator at a rational case.

    Args
        estimator   any estimator
        case        says the value of every unknown: probabilities, their derivatives, functions, for relaxed laws moments
        outcomes    the number of outcomes; where it is left out, as many as the case gives probabilities p(1), p(2), ...
        degree      the degree of a function of a normal or uniform variable
    Raises
        UsageError, if the case leaves a value open that is needed.
        NotEvaluable, TooLarge, as `identically_equal`.

    >>> from derive.catalogue import catalogue
    >>> half = Fraction(1, 2)
    >>> mean_and_variance_at(catalogue["score-function"], RationalCase.finite((half, half), (1, -1), f=(0, 1)))
    (Fraction(-1, 1), Fraction(1, 1))
    """
    first, second = _mean_and_square(estimator, case, RationalModel, outcomes or _outcomes_of(case), degree)
    if not (is_exact(first) and is_exact(second)):
        message = "a logarithm or an exponential has no rational value at a rational case."
        raise NotEvaluable(message)
    return fraction(first), fraction(second) - fraction(first) ** 2


def enclosed_mean_and_variance_at(
    estimator: Estimator, case: Case, *, outcomes: int, degree: int = DEGREE
) -> tuple[Enclosure, Enclosure]:
    """Return the mean and the variance at a case: exact where they are rational, certified enclosures where they are not.

    Args
        case   says the value of every unknown, as a fraction or a ball
    Raises
        UsageError, if the case leaves a value open that is needed.
        NotEvaluable, TooLarge, as `identically_equal`.

    >>> from derive.catalogue import catalogue
    >>> half = Fraction(1, 2)
    >>> case = RationalCase.finite((half, half), (1, -1), law="q", log_joint=(0, 1))
    >>> mean, variance = enclosed_mean_and_variance_at(catalogue["elbo-score-function"], case, outcomes=2)
    >>> mean.contains(-1), variance.above(5), variance.below(6)
    (True, True, True)
    """
    with precision(BITS):
        first, second = _mean_and_square(estimator, case, EnclosedModel, outcomes, degree)
        return enclosed(first), enclosed(second - first * first)


def _mean_and_square(
    estimator: Estimator, case: Case, model: type[RationalModel], outcomes: int, degree: int
) -> tuple[Scalar, Scalar]:
    mean, square = written_out(estimator.expectation), written_out(second_moment(estimator))
    if anywhere(mean, lambda part: _is_continuous(part) or _moves_another(part, estimator.parameter)):
        return viewed((mean, square), estimator.parameter, outcomes, degree, lambda view: _values_at(view, case))
    reader = Reader(model(case, outcomes, estimator.parameter.name), (mean, square), degree)
    return reader.read(mean, {}, 0)[0], reader.read(square, {}, 0)[0]


def _outcomes_of(case: RationalCase) -> int:
    count = 0
    while any(name.endswith(f"({count + 1})") for name in case.values):
        count += 1
    return count or 2


def _values_at(view: View, case: Case) -> tuple[Scalar, Scalar]:
    first, second = (value_at(view.model, scalar, case) for scalar in view.values[0])
    return first, second


def _moves_another(term: Term, parameter: Symbol) -> bool:
    return isinstance(term, (Grad, Score)) and term.parameter != parameter


def _is_continuous(term: Term) -> bool:
    return isinstance(term, (Expect, Over)) and not isinstance(term.variable.law, FiniteLaw)


def _refutes(view: View, top: Scalar, values: tuple[Scalar, Scalar], terms: tuple[Term, Term], parameter: Symbol) -> bool:
    """Whether a difference that is not zero as it was read is one in fact: where all unknowns are free, or at a case."""
    if view.reader.nodes:
        return refute(*terms, parameter) is not None
    return _is_free(view, top) or find(view.model, view.relations, *values) is not None


def _is_free(view: View, top: Scalar) -> bool:
    """Whether nothing ties the unknowns of a cleared difference: then it differs from zero at almost every case.

    Moments, exponentials and densities are tied, and a logarithm or a scale may leave no case at all.
    """
    kinds = {view.model.ring.keys[index].kind for index in view.model.ring.used(top)}
    logs = any(key.kind == "log" for key in view.model.ring.keys)
    return kinds <= _FREE and not logs and not view.model.positive
