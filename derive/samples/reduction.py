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
from itertools import combinations, count, islice, permutations
from typing import TypeAlias

from derive.language.errors import TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.language.notation import copies, total
from derive.language.scope import depends, substitute
from derive.language.term import Add, Grad, Mul, Number, Power, RandomVariable, Stop, Symbol, Term, lift, parts
from derive.samples.statistic import Sampled, SampleMean, place, refuse_mean_within

MOST_PIECES = 1000
Standing: TypeAlias = Mapping[RandomVariable, RandomVariable]
"""The sample that each variable of a mean stands for."""


@dataclass(frozen=True)
class Reduced:
    """An estimator with the mean of another one, which is of S samples.

    Args
        estimator   the estimator; S is a constant of it
        fewest      the least S for which the means are the same
        degree      that of the means as polynomials in S over one denominator: how often a sample is chosen in one summand, and
                what powers of S stand there; those that are the same for so many S, and one more, are the same for all
    """

    estimator: Estimator
    fewest: int
    degree: int


def in_the_mean(sampled: Sampled) -> Reduced:
    """Return an estimator with the same mean, of as few samples as occur together.

    Raises
        UsageError, if a mean stands in another term than a sum, a product, a whole power or a gradient.

    >>> from derive.notation import E, finite, function, grad, parameter, samples, score
    >>> theta, f = parameter("theta"), function("f")
    >>> b = finite("b", theta)
    >>> mine = samples(b).estimator("mine", samples(b).mean(lambda x: f(x) * score(x)), grad(E(f(b), b), theta))
    >>> len(in_the_mean(mine.family).estimator.draws)
    1
    """
    reduction = _Reduction(sampled.each.number, sampled.each.variable)
    pieces = reduction.pieces(sampled.formula, {}, ())
    drawn = copies(sampled.each.variable, max([1, *(len(piece.new) for piece in pieces)]))
    formula = total(piece.at(drawn, sampled.each.number) for piece in pieces)
    fewest = reduction.fewest
    while _divides_by_zero(formula, sampled.each.number, fewest):
        fewest += 1
    return Reduced(sampled.with_draws(formula, drawn), fewest, _degree(sampled.formula, sampled.each.number))


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
        self.number, self.variable, self.fewest, self._numbers = number, variable, 1, count(1)

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
        found = []
        for sample in (*around, new):
            if sample not in omitted:
                chosen, weight = ((new,), left(len(around)) * one) if sample == new else ((), one)
                inside = self.pieces(mean.body, {**at, mean.variable: sample}, (*around, *chosen))
                found += [piece.scaled(weight, chosen) for piece in inside]
        return found

    def _product(self, factors: Sequence[list[Piece]], around: int) -> list[Piece]:
        products = factors[0]
        for pieces in factors[1:]:
            products = list(islice(self._products(products, pieces, around), MOST_PIECES + 1))
            if len(products) > MOST_PIECES:
                message = f"means over samples are multiplied to more than {MOST_PIECES} summands of different samples."
                raise TooLarge(message)
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
        return RandomVariable(f"{self.variable.name}_new{next(self._numbers)}", self.variable.law)


def _standing(term: Term, at: Standing) -> Term:
    return substitute(term, {variable: sample for variable, sample in at.items()})  # noqa: C416 - its keys are leaves


def _meeting(a: int, b: int, k: int, around: int) -> Factor:
    above = [left(around + a + i) for i in range(b - k)]
    return reduce(lambda one, other: one * other, [*above, *(left(around + i, -1) for i in range(b))], Factor())


def _factor(term: Term, number: Symbol) -> Factor | None:
    """A number, or S less a number, to a power; None for any other term."""
    match term:
        case Number(value):
            return Factor(value)
        case Symbol() if term == number:
            return left(0)
        case Add((one, Number(value))) if one == number and value.denominator == 1:
            return left(-value.numerator)
        case Power(base, exponent) if base == number or isinstance(base, Add):
            inner = _factor(base, number)
            return None if inner is None else Factor(Fraction(1), tuple((k, power * exponent) for k, power in inner.powers))
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


def _divides_by_zero(term: Term, number: Symbol, samples: int) -> bool:
    """Whether S less a number is 0 in a denominator, for so many samples."""
    factor = _factor(term, number)
    if factor is not None:
        return any(power < 0 and k == samples for k, power in factor.powers)
    return any(_divides_by_zero(part, number, samples) for part in parts(term))
