"""What means over S samples are in the mean, for every S: averages over tuples of different samples, which are independent.

Of n samples that are left, a sample of a mean is one of those around it, or a new one. Of two averages over tuples that are
multiplied, some samples of the one are samples of the other, and the rest are not: b different samples out of n are in k given
places k given ones of a others, and none of these elsewhere, with the probability (n - a)(n - a - 1) ... / (n (n - 1) ...), of
b - k factors over b. (U- and V-statistics: Hoeffding 1948, "A class of statistics with asymptotically normal distribution".)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import combinations, islice, permutations
from operator import mul
from typing import TypeAlias

from derive.language.errors import TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.language.notation import copies, total
from derive.language.scope import depends, substitute
from derive.language.term import Add, Grad, Mul, Number, Power, RandomVariable, Stop, Symbol, Term, lift, parts
from derive.samples.statistic import Bunch, Sampled, SampleMean, place, refuse_mean_within

MOST_PIECES = 1000
MOST_DEGREE = 30
Standing: TypeAlias = Mapping[RandomVariable, RandomVariable]
"""The sample that each variable of a mean stands for."""


@dataclass(frozen=True)
class Reduced:
    """An estimator with the mean of another one, which is of S samples.

    Args
        estimator   the estimator; S is a constant of it
        fewest      the least S for which the means are the same
        degree      that of mean less target as a polynomial in S over one denominator: how often a sample is chosen in one
                summand, and what powers of S stand there; what is the same for so many S, and one more, is the same for all
    """

    estimator: Estimator
    fewest: int
    degree: int


def in_the_mean(sampled: Sampled) -> Reduced:
    """Return an estimator with the same mean, of as few samples as occur together.

    Raises
        UsageError, if a mean stands in another term than a sum, a product, a whole power or a gradient, or S in another one
        than a factor of a denominator or of the target.
        TooLarge, if there are too many summands or powers of S.

    >>> from derive.notation import E, finite, function, grad, parameter, samples, score
    >>> theta, f = parameter("theta"), function("f")
    >>> b = finite("b", theta)
    >>> each = samples(b)
    >>> mine = each.estimator("mine", each.mean(lambda x: f(x) * score(x)), grad(E(f(b), b), theta))
    >>> len(in_the_mean(mine.family).estimator.draws)
    1
    """
    reduction = _Reduction(sampled.each.number, sampled.each.variable)
    pieces = reduction.pieces(sampled.formula, {}, ())
    drawn = copies(sampled.each.variable, max([1, *(len(piece.new) for piece in pieces)]))
    formula = total(piece.at(drawn, sampled.each.number) for piece in pieces)
    number = sampled.each.number
    fewest = max(reduction.fewest, _least(sampled.formula, number), _least_of_target(sampled.target, number))
    degree = _degree(sampled.formula, number) + _degree(sampled.target, number)
    if degree > MOST_DEGREE:
        message = f"the mean of {sampled.name!r} is of degree {degree} in {number.name}, more than {MOST_DEGREE}."
        raise TooLarge(message)
    return Reduced(sampled.with_draws(formula, drawn), fewest, degree)


@dataclass(frozen=True)
class Factor:
    """A number times whole powers of S, S - 1, S - 2, ...

    Args
        number   the number
        powers   the power of S - k, by k; none is 0
    """

    number: Fraction = Fraction(1)
    powers: tuple[tuple[int, int], ...] = ()

    def __mul__(self, other: Factor) -> Factor:
        powers = dict(self.powers)
        for k, power in other.powers:
            powers[k] = powers.get(k, 0) + power
        return Factor(self.number * other.number, tuple(sorted((k, power) for k, power in powers.items() if power)))

    def __pow__(self, exponent: int) -> Factor:
        return Factor(self.number**exponent, tuple((k, power * exponent) for k, power in self.powers if exponent))

    def times(self, body: Term, number: Symbol) -> Term:
        """Return the product with a term."""
        above = [_less(number, k) ** power if power > 1 else _less(number, k) for k, power in self.powers if power > 0]
        below = [Power(_less(number, k), power) for k, power in self.powers if power < 0]
        factors = [*([] if self.number == 1 else [lift(self.number)]), *above, body, *below]
        return reduce(lambda one, other: one * other, factors)


def left(taken: int, power: int = 1) -> Factor:
    """S less so many, to a power."""
    return Factor(Fraction(1), ((taken, power),))


@dataclass(frozen=True)
class Piece:
    """A factor times the average of a body over all tuples of different samples, different from those around, too.

    Args
        factor   a number times powers of S, S - 1, ...
        new      the variables of the tuple
        body     a term without means over samples
    """

    factor: Factor
    new: tuple[RandomVariable, ...]
    body: Term

    def at(self, drawn: Sequence[RandomVariable], number: Symbol) -> Term:
        """Return the factor times the body at the first of some samples."""
        return self.factor.times(substitute(self.body, dict(zip(self.new, drawn, strict=False))), number)

    def within(self, function: Callable[[Term], Term]) -> Piece:
        """Return the image under a linear function of terms, at samples that are held fixed."""
        return Piece(self.factor, self.new, function(self.body))

    def scaled(self, factor: Factor, new: tuple[RandomVariable, ...]) -> Piece:
        """Return a multiple of the average over tuples that begin with other samples."""
        return Piece(factor * self.factor, (*new, *self.new), self.body)


class _Reduction:
    """The reduction of one term; `fewest` is the least S for which no denominator of it is 0."""

    number: Symbol
    variable: RandomVariable
    fewest: int

    def __init__(self, number: Symbol, variable: RandomVariable) -> None:
        self.number, self.variable, self.fewest, self._bunch = number, variable, 1, Bunch()

    def pieces(self, term: Term, at: Standing, around: tuple[RandomVariable, ...]) -> list[Piece]:
        """Return a sum of pieces, given the samples around, which differ, and those that variables stand for."""
        factor = _factor(term, self.number)
        if factor is not None:
            return [Piece(factor, (), lift(1))]
        match term:
            case SampleMean():
                return self._mean(term, at, around)
            case Add(args):
                return [piece for arg in args for piece in self.pieces(arg, at, around)]
            case Mul(args):
                return self._product([self.pieces(arg, at, around) for arg in args], len(around))
            case Power(base, exponent) if exponent > 0:
                return self._product([self.pieces(base, at, around) for _ in range(exponent)], len(around))
            case Grad(body, parameter):
                return [piece.within(lambda inner: Grad(inner, parameter)) for piece in self.pieces(body, at, around)]
            case Stop(body):
                return [piece.within(Stop) for piece in self.pieces(body, at, around)]
        refuse_mean_within(term)
        return [Piece(Factor(), (), _standing(term, at))]

    def _mean(self, mean: SampleMean, at: Standing, around: tuple[RandomVariable, ...]) -> list[Piece]:
        omitted, new = {place(other, at) for other in mean.without}, self._next()
        self.fewest = max(self.fewest, len(omitted) + 1)
        one = left(len(omitted), -1)
        found = list[Piece]()
        for sample in (*around, new):
            if sample not in omitted:
                chosen, weight = ((new,), left(len(around)) * one) if sample == new else ((), one)
                inside = self.pieces(mean.body, {**at, mean.variable: sample}, (*around, *chosen))
                found = _feasible([*found, *(piece.scaled(weight, chosen) for piece in inside)])
        return found

    def _product(self, factors: Sequence[list[Piece]], around: int) -> list[Piece]:
        products = factors[0]
        for pieces in factors[1:]:
            products = _feasible(list(islice(self._products(products, pieces, around), MOST_PIECES + 1)))
        return products

    def _products(self, left: list[Piece], right: list[Piece], around: int) -> Iterator[Piece]:
        for one in left:
            for other in right:
                yield from self._together(one, other, around)

    def _together(self, one: Piece, other: Piece, around: int) -> Iterator[Piece]:
        """The product of two averages: for each choice of places of the other tuple, and of samples of the one in them."""
        a, b = len(one.new), len(other.new)
        if a:
            self.fewest = max(self.fewest, around + b)
        for k in range(min(a, b) + 1):
            factor = one.factor * other.factor * (_meeting(a, b, k, around) if a else Factor())
            for places in combinations(range(b), k):
                for met in permutations(one.new, k):
                    stands = dict(zip(places, met, strict=True))
                    samples = {variable: stands.get(i) or self._next() for i, variable in enumerate(other.new)}
                    new = tuple(samples[variable] for i, variable in enumerate(other.new) if i not in stands)
                    yield Piece(factor, (*one.new, *new), _times(one.body, _standing(other.body, samples)))

    def _next(self) -> RandomVariable:
        return self._bunch.variable(self.variable)


def _feasible(pieces: list[Piece]) -> list[Piece]:
    if len(pieces) > MOST_PIECES:
        message = f"means over samples are multiplied to more than {MOST_PIECES} summands of different samples."
        raise TooLarge(message)
    return pieces


def _standing(term: Term, at: Standing) -> Term:
    return substitute(term, {variable: sample for variable, sample in at.items()})  # noqa: C416 - its keys are leaves


def _meeting(a: int, b: int, k: int, around: int) -> Factor:
    above = [left(around + a + i) for i in range(b - k)]
    return reduce(lambda one, other: one * other, [*above, *(left(around + i, -1) for i in range(b))], Factor())


def _factor(term: Term, number: Symbol) -> Factor | None:
    """A number, or S less a whole one, and products of their powers; None for any other term."""
    match term:
        case Number(value):
            return Factor(value)
        case Symbol() if term == number:
            return left(0)
        case Add((one, Number(value))) if one == number and value.denominator == 1:
            return left(-value.numerator)
        case Power(base, exponent):
            inner = _factor(base, number)
            return None if inner is None or not inner.number else inner**exponent
        case Mul(args):
            factors = [_factor(arg, number) for arg in args]
            known = [factor for factor in factors if factor is not None]
            return reduce(mul, known) if len(known) == len(factors) else None
    return None


def _less(number: Symbol, taken: int) -> Term:
    return number - taken if taken else number


def _times(one: Term, other: Term) -> Term:
    return other if one == lift(1) else one if other == lift(1) else one * other


def _degree(term: Term, number: Symbol) -> int:
    """How many samples are chosen, one after the other, in one summand of a term, and how many powers of S stand there.

    Raises
        UsageError, if S stands in anything but sums, products, powers and gradients.
    """
    match term:
        case Symbol():
            return int(bool(term == number))
        case SampleMean(body, _, _):
            return 1 + _degree(body, number)
        case Add(args):
            return max(_degree(arg, number) for arg in args)
        case Mul(args):
            return sum(_degree(arg, number) for arg in args)
        case Power(base, exponent):
            return abs(exponent) * _degree(base, number)
        case Grad(body, _) | Stop(body):
            return _degree(body, number)
    if depends(term, number):
        message = f"the number of samples, {number.name}, stands in a {type(term).__name__}: expected a sum, product or power."
        raise UsageError(message)
    return 0


def _least(term: Term, number: Symbol) -> int:
    """The least S from which on no denominator of a term is 0.

    Raises
        UsageError, if S stands in a denominator that is no product of powers of S less whole numbers.
    """
    match term:
        case SampleMean(body, _, _):
            return _least(body, number)
        case Power(base, exponent) if exponent < 0 and depends(base, number):
            return _above(base, number, "in a denominator")
        case Add() | Mul() | Power() | Grad() | Stop():
            return max(_least(part, number) for part in parts(term))
    return 1


def _least_of_target(target: Term, number: Symbol) -> int:
    """The least S from which on the target is a multiple of the same one, not 0: where it is 0, there is no scale."""
    if isinstance(target, Mul):
        return max(_least_of_target(arg, number) for arg in target.args)
    return _above(target, number, "in the target") if depends(target, number) else 1


def _above(term: Term, number: Symbol, where: str) -> int:
    factor = _factor(term, number)
    if factor is None:
        message = f"{number.name} stands {where} as no factor: expected {number.name} less whole numbers, multiplied."
        raise UsageError(message)
    return max([1, *(k + 1 for k, _ in factor.powers)])
