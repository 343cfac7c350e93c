"""An estimator: what is drawn, the formula that is computed from the draws, and the gradient that it should estimate.

The catalogue's estimators and a user's own are made of the same parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from typing import Protocol

from derive.language.depth import refuse_deep
from derive.language.errors import ScopeError, UsageError
from derive.language.expected import a_name, jointly
from derive.language.notation import E
from derive.language.scope import free, substitute
from derive.language.shown import Shown
from derive.language.target import objective_of, parameter_of
from derive.language.term import Apply, Density, Expect, Law, Over, RandomVariable, Score, Symbol, Term, lift, subterms

VERDICTS = ("proved", "checked", "scaled", "other-target", "refuted", "vacuous", "undecided")
HOLDING = ("proved", "checked", "vacuous")
"""The verdicts of which no judge has seen mean and target differ."""


class Chain(Protocol):
    """What a hand-written derivation returns, as far as an estimator knows: `derive.proofs.calc.Derivation` is one.

    The language stands below the proofs, so it names the shape only; `derive.proofs.calc.chain_of` demands the class.
    """

    @property
    def lines(self) -> tuple[object, ...]:
        """The lines of the chain, the target first."""

    @property
    def theorem(self) -> object:
        """That the first line equals the last."""


class Interval(Protocol):
    """A number that lies between `middle - radius` and `middle + radius`, as a `derive.numbers.enclosures.Enclosure`."""

    @property
    def middle(self) -> Fraction:
        """The middle."""

    @property
    def radius(self) -> Fraction:
        """The radius, not negative; 0 where the number is exact."""


class Moments(Protocol):
    """What `integrated` returns, as far as an estimator knows: `derive.numbers.enclosures.MomentsAt` is one."""

    @property
    def point(self) -> Mapping[str, Fraction]:
        """The values of the unknowns, by name."""

    @property
    def mean(self) -> Interval:
        """The mean at the point."""

    @property
    def variance(self) -> Interval:
        """The variance at the point."""

    @property
    def note(self) -> str:
        """Of what they are the moments."""


@dataclass(frozen=True, repr=False)
class Estimator(Shown):
    """A sampling program and a formula.

    Args
        name         the catalogue name, or the user's own
        formula      the estimate, a scalar term whose random variables are the draws
        draws        the independent random variables that are sampled, in order
        target       the gradient to be estimated, `grad(E(...), theta)`, or a sum of gradients and of multiples of them
        where        names for subterms (`z`, `b`, `z_tilde`), for printing: a computed quantity is written once
        source       keys of docs/references.md with the equation, such as "tucker-2017, eq. 8"
        summary      one sentence for lists
        verdict      the verdict that is expected of it, one of `VERDICTS`
        derivation   the hand-written chain from the target to E[formula], a function without arguments that returns it, or None
        integrated   where the mean is no polynomial in the noise: its moments at a point, of which some values are given
        family       where the estimator is one of a family, the function of the number of samples that returns them

    Raises
        ScopeError, if the formula, or the law of a draw, uses a random variable that is not drawn (before it), if a draw is
        drawn twice, or if the target has a free random variable.
        UsageError, if the target is no gradient, and no sum of them, the verdict is none of `VERDICTS`, draws share a law by
        default (`finite`), or a function is called as a law is, or as its score.
        TooLarge, if something is nested too deeply to be read.
        NotExact, NotATerm, from the operators too, if a float or something else that is no term enters the formula.

    >>> from derive.notation import E, finite, function, grad, parameter, score
    >>> theta = parameter("theta")
    >>> b, f = finite("b", theta), function("f")
    >>> mine = Estimator("mine", f(b) * score(b), draws=(b,), target=grad(E(f(b), b), theta))
    >>> mine.parameter.name
    'theta'
    """

    name: str
    formula: Term
    draws: tuple[RandomVariable, ...]
    target: Term
    where: tuple[tuple[str, Term], ...] = ()
    source: str = ""
    summary: str = ""
    verdict: str = "proved"
    derivation: Callable[[], Chain] | Chain | None = field(default=None, compare=False)
    integrated: Callable[[Mapping[str, Fraction]], Moments] | None = field(default=None, compare=False)
    family: Callable[[int], Estimator] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"<Estimator {self.name!r}>"

    def __post_init__(self) -> None:
        a_name(self.name, "estimator")
        object.__setattr__(self, "formula", lift(self.formula))
        object.__setattr__(self, "draws", self._drawn())
        object.__setattr__(self, "target", lift(self.target))
        self._refuse_no_gradient()
        if self.verdict not in VERDICTS:
            message = f"the verdict of {self.name!r} must be one of {', '.join(VERDICTS)}; got {self.verdict!r}."
            raise UsageError(message)
        self._refuse_unbound(self.formula, "formula", self.draws)
        self._refuse_unbound(self.target, "target", ())
        self._refuse_two_meanings()

    def _refuse_no_gradient(self) -> None:
        try:
            parameter_of(self.target)
        except UsageError as error:
            message = (
                f"the target of {self.name!r} must be a gradient, grad(E(f(b), b), theta), or a sum of gradients by one"
                f" parameter and of multiples of them: {error}."
            )
            raise UsageError(message) from None

    def _refuse_two_meanings(self) -> None:
        """In formulas and witnesses p(1), dp(1), score(1) are the probability of an outcome, its derivative and its score."""
        laws = {name for law in self._laws() if (name := str(getattr(law, "name", "")))}
        taken = laws | {f"d{law}" for law in laws} | {"score" if law == "p" else f"score_{law}" for law in laws}
        for node in chain.from_iterable(map(subterms, (self.formula, self.target))):
            if isinstance(node, Apply) and node.function.name in taken:
                name = node.function.name
                message = f"{name!r} is a function in {self.name!r}, and what is said of a law: call the function otherwise."
                raise UsageError(message)

    def _laws(self) -> Iterator[Law]:
        for node in chain.from_iterable(map(subterms, (self.formula, self.target, *self.draws))):
            match node:
                case RandomVariable(_, law) | Density(law, _) | Score(law, _, _):
                    yield law
                case Expect(_, variable) | Over(_, variable):
                    yield variable.law

    def _drawn(self) -> tuple[RandomVariable, ...]:
        draws = jointly(self.draws, f"the estimator {self.name!r}")
        for i, draw in enumerate(draws):
            for term in draw.law.terms:
                self._refuse_unbound(term, f"law of {draw.name}", draws[:i])
        return draws

    def _refuse_unbound(self, term: Term, what: str, bound: tuple[RandomVariable, ...]) -> None:
        refuse_deep(term, f"{what} of {self.name!r}")
        unbound = sorted(leaf.name for leaf in free(term) if isinstance(leaf, RandomVariable) and leaf not in bound)
        if unbound:
            names = ", ".join(variable.name for variable in bound) or "none"
            message = f"the {what} of {self.name!r} uses {', '.join(unbound)}, which is not drawn; drawn here: {names}."
            if what == "target":
                message += f" A target draws nothing: average over it, as in grad(E(f({unbound[0]}), {unbound[0]}), theta)."
            raise ScopeError(message)

    def with_samples(self, samples: int) -> Estimator:
        """Return the member of the family with so many samples, or where there is no family the average of so many copies.

        Raises
            UsageError, if the number is below 1, or below what the family needs.
        """
        if samples < 1:
            message = f"the number of samples must be at least 1, got {samples}."
            raise UsageError(message)
        return self._averaged(samples) if self.family is None else self.family(samples)

    def _averaged(self, samples: int) -> Estimator:
        copies = [self._copy(i) for i in range(1, samples + 1)] if samples > 1 else [(self.formula, self.draws)]
        draws = tuple(draw for _, copied in copies for draw in copied)
        formula = sum((formula for formula, _ in copies[1:]), start=copies[0][0]) / samples
        where = self.where if samples == 1 else ()
        return replace(self, formula=formula, draws=draws, where=where, derivation=self.derivation if samples == 1 else None)

    def _copy(self, number: int) -> tuple[Term, tuple[RandomVariable, ...]]:
        renamed: dict[Symbol | RandomVariable, Term] = {}
        for draw in self.draws:
            law = draw.law.with_terms(tuple(substitute(term, renamed) for term in draw.law.terms))
            renamed[draw] = RandomVariable(f"{draw.name}_{number}", law)
        return substitute(self.formula, renamed), tuple(copy for copy in renamed.values() if isinstance(copy, RandomVariable))

    @property
    def parameter(self) -> Symbol:
        """The parameter with respect to which the target differentiates."""
        return parameter_of(self.target)

    @property
    def objective(self) -> Term:
        """The expectation whose gradient is the target; of a sum of gradients, the sum of what is differentiated."""
        return objective_of(self.target)

    @property
    def expectation(self) -> Term:
        """E[formula] over the draws, the first one outermost."""
        return E(self.formula, *self.draws)
