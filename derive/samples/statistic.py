"""Means over S independent samples, S a symbol, and what they are for a number of samples.

    each = samples(b)
    each.mean(lambda x: (f(x) - each.without(x).mean(f)) * score(x))

is the leave-one-out estimator. A function is called once, with a variable that stands for a sample, so that what is stated is
one term for every S. A mean over samples stands in sums, products, whole powers and gradients; within anything else, such as a
logarithm, the mean is no sum over few samples, and it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import count
from operator import mul
from typing import TypeVar

from derive.language.depth import MOST_NODES, nodes
from derive.language.errors import ScopeError, TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.language.notation import constant, copies, total
from derive.language.scope import depends, free, substitute
from derive.language.term import Add, Exact, Grad, Mul, Number, Power, RandomVariable, Stop, Symbol, Term, lift, parts

Function = Callable[[RandomVariable], Exact]
Place = TypeVar("Place")
EVERY = "every"
"""What `derive.prove` takes for every number of samples at once."""


@dataclass(frozen=True)
class SampleMean(Term):
    """The mean of `body` over all samples for which `variable` stands, but those for which `without` stand."""

    body: Term
    variable: RandomVariable
    without: tuple[RandomVariable, ...] = ()


@dataclass(frozen=True)
class Samples:
    """S independent copies of a random variable.

    Args
        variable   one of them
        number     S, a symbol
        omitted    the samples that a mean leaves out
    """

    variable: RandomVariable
    number: Symbol
    omitted: tuple[RandomVariable, ...] = ()
    _numbers: Iterator[int] = field(default_factory=lambda: count(1), compare=False, repr=False)

    def without(self, *others: RandomVariable) -> Samples:
        """Return all samples but these, each of them a sample of a mean outside."""
        return Samples(self.variable, self.number, (*self.omitted, *others), self._numbers)

    def mean(self, of: Function) -> Term:
        """Return the mean of a function over the samples: the function is called once, with a variable that stands for one."""
        one = RandomVariable(f"{self.variable.name}_{_index(next(self._numbers))}", self.variable.law)
        return SampleMean(lift(of(one)), one, self.omitted)

    def estimator(
        self,
        name: str,
        formula: Term,
        target: Term,
        *,
        shown: int = 3,
        before: tuple[RandomVariable, ...] = (),
        source: str = "",
        summary: str = "",
        verdict: str = "proved",
    ) -> Estimator:
        """Return the estimator with as many samples as are `shown`; its family has the others.

        Args
            formula   a term with means over the samples
            shown     the number of samples where none is asked for
            before    what is drawn once, before the samples, such as a prompt
            others    as of `derive.Estimator`

        Raises
            UsageError, if a mean stands in another term than a sum, a product, a whole power or a gradient, or needs more
            samples than are shown.
            ScopeError, if the variable of a mean stands outside of it.

        >>> from derive.notation import E, finite, function, grad, parameter, score
        >>> theta, f = parameter("theta"), function("f")
        >>> b = finite("b", theta)
        >>> each = samples(b)
        >>> loo = each.mean(lambda x: (f(x) - each.without(x).mean(f)) * score(x))
        >>> len(each.estimator("loo", loo, grad(E(f(b), b), theta)).draws)
        3
        """
        return Sampled(self, name, lift(formula), target, before, source, summary, verdict)(shown)


def samples(variable: RandomVariable, number: str = "S") -> Samples:
    """Return S independent copies of a random variable, S a symbol of this name.

    >>> from derive.notation import finite, parameter
    >>> samples(finite("b", parameter("theta"))).number.name
    'S'
    """
    return Samples(variable, constant(number))


@dataclass(frozen=True)
class Sampled:
    """An estimator for every number of samples: called with one, it returns the estimator of so many.

    Args
        each      the samples
        formula   a term with means over them
        before    what is drawn once, before the samples
        others    as of `derive.Estimator`
    """

    each: Samples
    name: str
    formula: Term
    target: Term
    before: tuple[RandomVariable, ...] = ()
    source: str = ""
    summary: str = ""
    verdict: str = "proved"

    def __post_init__(self) -> None:
        unbound = sorted(leaf.name for leaf in _unbound(self.formula, frozenset(self.before)))
        if unbound:
            names = ", ".join(unbound)
            message = f"the formula of {self.name!r} uses {names} outside of a mean over the samples that it is one of."
            raise ScopeError(message)
        if any(depends(term, self.each.number) for draw in (*self.before, self.each.variable) for term in draw.law.terms):
            message = f"a law of {self.name!r} depends on the number of samples, {self.each.number.name}."
            raise UsageError(message)

    def __call__(self, number: int) -> Estimator:
        """Return the estimator of so many samples.

        Raises
            UsageError, if a mean leaves none of them; TooLarge, if there are too many to be written out.
        """
        size = _size(self.formula, number)
        if size > MOST_NODES:
            message = f"{self.name!r} of {number} samples has about {size} parts, more than the {MOST_NODES} that are feasible."
            raise TooLarge(message)
        drawn = copies(self.each.variable, number)
        return self._estimator(_written_out(self.formula, drawn, {}), drawn, {self.each.number: lift(number)})

    def with_draws(self, formula: Term, drawn: tuple[RandomVariable, ...]) -> Estimator:
        """Return the estimator with another formula, of so many samples."""
        return self._estimator(formula, drawn, {})

    def _estimator(
        self, formula: Term, drawn: tuple[RandomVariable, ...], values: dict[Symbol | RandomVariable, Term]
    ) -> Estimator:
        return Estimator(
            self.name,
            substitute(formula, values),
            (*self.before, *drawn),
            substitute(self.target, values),
            source=self.source,
            summary=self.summary,
            verdict=self.verdict,
            family=self,
        )


# For a number of samples


def _written_out(term: Term, drawn: Sequence[RandomVariable], at: Mapping[RandomVariable, int]) -> Term:
    match term:
        case SampleMean(body, variable, without):
            omitted = {place(other, at) for other in without}
            chosen = [i for i in range(len(drawn)) if i not in omitted]
            if not chosen:
                message = f"a mean over all but {len(omitted)} needs at least {len(omitted) + 1} samples, got {len(drawn)}."
                raise UsageError(message)
            return total(_written_out(body, drawn, {**at, variable: i}) for i in chosen) / len(chosen)
        case Add(args):
            return total(_written_out(arg, drawn, at) for arg in args)
        case Mul(args):
            return reduce(mul, (_written_out(arg, drawn, at) for arg in args))
        case Power(base, exponent) if exponent >= 0:
            return _written_out(base, drawn, at) ** exponent
        case Grad(body, parameter):
            return Grad(_written_out(body, drawn, at), parameter)
        case Stop(body):
            return Stop(_written_out(body, drawn, at))
    refuse_mean_within(term)
    return substitute(term, {variable: drawn[i] for variable, i in at.items()})


def place(other: RandomVariable, at: Mapping[RandomVariable, Place]) -> Place:
    """Return what stands at a variable of a mean around.

    Raises
        ScopeError, if it is none.
    """
    if other not in at:
        message = f"a mean is over all samples but {other.name}, which is no sample of a mean around it."
        raise ScopeError(message)
    return at[other]


def refuse_mean_within(term: Term) -> None:
    """Refuse a term that is no sum, product, whole power or gradient, and in which a mean over samples stands."""
    if not isinstance(term, (Number, Symbol, RandomVariable)) and any(map(_has_mean, parts(term))):
        message = (
            f"a mean over S samples stands in a {type(term).__name__}: what is known for every S are sums, products, whole "
            "powers and gradients of such means; write the estimator for a number of samples, with derive.notation.copies."
        )
        raise UsageError(message)


def _has_mean(term: Term) -> bool:
    return isinstance(term, SampleMean) or any(map(_has_mean, parts(term)))


def _size(term: Term, number: int) -> int:
    """About how many parts a term has when it is written out for so many samples."""
    match term:
        case SampleMean(body, _, _):
            return number * _size(body, number)
        case Add() | Mul() | Power() | Grad() | Stop():
            times = abs(term.exponent) if isinstance(term, Power) else 1
            return 1 + times * sum(_size(part, number) for part in parts(term))
    return nodes(term)


def _unbound(term: Term, bound: frozenset[RandomVariable]) -> frozenset[RandomVariable]:
    """The random variables that stand outside of the means that they are of."""
    match term:
        case SampleMean(body, variable, _):
            return _unbound(body, bound | {variable})
        case Add() | Mul() | Power() | Grad() | Stop():
            return frozenset[RandomVariable]().union(*(_unbound(part, bound) for part in parts(term)))
    refuse_mean_within(term)
    return frozenset(leaf for leaf in free(term) if isinstance(leaf, RandomVariable) and leaf not in bound)


def _index(number: int) -> str:
    """i, j, k, and so on."""
    return "ijklm"[number - 1] if number <= len("ijklm") else f"i{number}"
