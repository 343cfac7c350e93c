"""Means over S independent samples, S a symbol, and what they are for a number of samples.

    each = samples(b)
    each.mean(lambda x: (f(x) - each.without(x).mean(f)) * score(x))

is the leave-one-out estimator. A function is called once, with a variable that stands for a sample, so that what is stated is
one term for every S. A mean over samples stands in sums, products, whole powers and gradients; within anything else, such as a
logarithm, the mean is no sum over few samples, and it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import mul
from typing import TypeVar

from derive.language.depth import MOST_NODES, below, nodes, refuse_deep
from derive.language.errors import ScopeError, TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.language.expected import a_count, a_variable, jointly
from derive.language.notation import constant, copies, total
from derive.language.scope import depends, free, substitute
from derive.language.term import (
    Add,
    Exact,
    Expect,
    Grad,
    Law,
    Mul,
    Number,
    Over,
    Power,
    RandomVariable,
    Stop,
    Symbol,
    Term,
    anywhere,
    lift,
    parts,
)

Function = Callable[[RandomVariable], Exact]
Place = TypeVar("Place")
EVERY = "every"
"""What `derive.prove` takes for every number of samples at once."""


class Bunch:
    """Which samples they are: those of another call of `samples` are others, of the same law or not."""

    means: int

    def __init__(self) -> None:
        self.means = 0

    def variable(self, like: RandomVariable) -> Sample:
        """Return a variable that no mean over these samples has had."""
        self.means += 1
        return Sample(f"{like.name}_{_index(self.means)}", like.law, self)


@dataclass(frozen=True)
class Sample(RandomVariable):
    """What stands for a sample in a mean: no variable that is drawn, and no sample of others, whatever their names."""

    name: str
    law: Law
    of: Bunch


@dataclass(frozen=True)
class SampleMean(Term):
    """The mean of `body` over all samples for which `variable` stands, but those for which `without` stand."""

    body: Term
    variable: Sample
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
    bunch: Bunch = field(default_factory=Bunch, repr=False)

    def without(self, *others: RandomVariable) -> Samples:
        """Return all samples but these, each of them a sample of a mean outside."""
        left_out = (a_variable(other, "without(x)") for other in others)
        return replace(self, omitted=(*self.omitted, *left_out))

    def mean(self, of: Function) -> Term:
        """Return the mean of a function over the samples: the function is called once, with a variable that stands for one.

        Raises
            UsageError, if it is no function; NotATerm, NotExact, if what it returns is no term.
        """
        _demand_function(of)
        one = self.bunch.variable(self.variable)
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
            UsageError, if a mean stands in another term than a sum, a product, a whole power or a gradient, is over the
            samples of another call of `samples`, or needs more of them than are shown.
            ScopeError, if the variable of a mean stands outside of it.

        >>> from derive.notation import E, finite, function, grad, parameter, score
        >>> theta, f = parameter("theta"), function("f")
        >>> b = finite("b", theta)
        >>> each = samples(b)
        >>> loo = each.mean(lambda x: (f(x) - each.without(x).mean(f)) * score(x))
        >>> len(each.estimator("loo", loo, grad(E(f(b), b), theta)).draws)
        3
        """
        drawn = jointly(before, f"the estimator {name!r}")
        return Sampled(self, name, lift(formula), lift(target), drawn, source, summary, verdict)(shown)


def _demand_function(of: object) -> None:
    if not callable(of):
        message = f"a mean over samples is of a function of one, as each.mean(lambda x: f(x)) is; got {type(of).__name__}."
        raise UsageError(message)


def samples(variable: RandomVariable, number: str = "S") -> Samples:
    """Return S independent copies of a random variable, S a symbol of this name.

    Raises
        NotATerm, UsageError, if it is no random variable, or the name is none.

    >>> from derive.notation import finite, parameter
    >>> samples(finite("b", parameter("theta"))).number.name
    'S'
    """
    return Samples(a_variable(variable, "samples(b)"), constant(number))


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
        refuse_deep(self.formula, f"formula of {self.name!r}", _below)
        self._refuse_others()
        unbound = sorted(leaf.name for leaf in _unbound(self.formula, frozenset(self.before)))
        if unbound:
            names = ", ".join(unbound)
            message = f"the formula of {self.name!r} uses {names} outside of a mean over the samples that it is one of."
            raise ScopeError(message)
        if any(depends(term, self.each.number) for draw in (*self.before, self.each.variable) for term in draw.law.terms):
            message = f"a law of {self.name!r} depends on the number of samples, {self.each.number.name}."
            raise UsageError(message)

    def _refuse_others(self) -> None:
        others = [mean for mean in _means(self.formula) if mean.variable.of is not self.each.bunch]
        if others:
            message = (
                f"a mean of {self.name!r} is over other samples, of {others[0].variable.law}: an estimator is of those of one"
                " call, each = samples(b)."
            )
            raise UsageError(message)

    def __call__(self, number: int) -> Estimator:
        """Return the estimator of so many samples.

        Raises
            UsageError, if a mean leaves none of them, or it is no number of samples; TooLarge, if there are too many to be
            written out.
        """
        number = a_count(number, "samples")
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


def _below(term: Term) -> tuple[Term, ...]:
    return (term.body,) if isinstance(term, SampleMean) else below(term)


def _means(term: Term) -> Iterator[SampleMean]:
    """The means that stand in sums, products, powers and gradients, and within each other."""
    match term:
        case SampleMean(body, _, _):
            yield term
            yield from _means(body)
        case Add() | Mul() | Power() | Grad() | Stop():
            for part in parts(term):
                yield from _means(part)


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
    if anywhere(term, lambda part: isinstance(part, (Expect, Over)) and isinstance(part.variable, Sample)):
        message = "an expectation is over a sample of a mean: write it over the variable that is sampled, as E(f(b), b)."
        raise ScopeError(message)
    return frozenset(leaf for leaf in free(term) if isinstance(leaf, RandomVariable) and leaf not in bound)


def _index(number: int) -> str:
    """i, j, k, and so on."""
    return "ijklm"[number - 1] if number <= len("ijklm") else f"i{number}"
