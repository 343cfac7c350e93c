"""Reading densities and scores of finite, uniform and normal laws."""

from __future__ import annotations

from functools import partial
from typing import NoReturn, TypeAlias

from derive.language.errors import NotEvaluable
from derive.language.scope import moves
from derive.language.term import (
    Add,
    Density,
    FiniteLaw,
    Grad,
    Law,
    NamedLaw,
    NormalLaw,
    RandomVariable,
    Score,
    Symbol,
    Term,
    UniformLaw,
)
from derive.laws.named import KNOWN
from derive.laws.named.refusals import NONE, refuse
from derive.laws.reading import Places, Reading
from derive.numbers.jets import Jet, add, constant, exponential, multiply, reciprocal
from derive.numbers.ring import Scalar
from derive.numbers.unknowns import LOG_TWO_PI, Argument, Generator, Outcome

LawArguments: TypeAlias = tuple[tuple[Argument, ...], tuple[Jet, ...]]


class DensityReading(Reading):
    """Adds probabilities, densities and scores."""

    def probability(self, law: FiniteLaw, outcome: int, places: Places, order: int) -> Jet:
        """Return the jet of the probability of an outcome."""
        args, jets = self._law_arguments(law, outcome, places, order)
        key = Generator("probability", law.name, (), args)
        value = self.model.generator(key, lambda along: self._dp(law, outcome, places, along))
        if not order:
            return (value,)
        return exponential(value, self._score_jet(law, args, jets, order - 1), order)

    def _dp(self, law: FiniteLaw, outcome: int, places: Places, along: str) -> Scalar:
        if along == self.model.parameter:
            return self.probability(law, outcome, places, 1)[1]
        score = self._score_along(law, outcome, places, 0, Symbol(along))
        return self.probability(law, outcome, places, 0)[0] * score[0]

    def _law_arguments(self, law: FiniteLaw, outcome: int, places: Places, order: int) -> LawArguments:
        read = [self.argument(arg, places, order) for arg in law.terms]
        return (Outcome(outcome), *(key for key, _ in read)), tuple(jet for _, jet in read if jet is not None)

    def _score_jet(self, law: FiniteLaw, args: tuple[Argument, ...], jets: tuple[Jet, ...], order: int) -> Jet:
        return self.slope(partial(_log_probability, law.name, args), jets, (0,) * len(jets), order)

    def _outcome_at(self, law: Law, at: Term, places: Places) -> int:
        outcome = self.outcome(at, places)
        if outcome is None:
            message = f"the density of {getattr(law, 'name', law)} is read at outcomes only, not at a {type(at).__name__}."
            raise NotEvaluable(message)
        return outcome

    def _density(self, term: Density, places: Places, order: int) -> Jet:
        match term.law:
            case FiniteLaw():
                return self.probability(term.law, self._outcome_at(term.law, term.at, places), places, order)
            case UniformLaw(low, high):
                _demand_own(term.law, term.at)
                return self.inverse_width(low, high, places, order)
            case NormalLaw() if self.nodes:
                log_density = self._log_density(term, places, order)
                return exponential(self.model.exp(log_density[0]), log_density[1:], order)
            case NormalLaw(loc, scale):
                keys = tuple(self.model.freeze(self.read(part, places, 0)[0]) for part in (loc, scale, term.at))
                slope = self._log_density(term, places, order)[1:] if order else ()
                return exponential(self.model.generator(Generator("normal", "", (), keys)), slope, order)
        self._refuse(term.law)

    def inverse_width(self, low: Term, high: Term, places: Places, order: int) -> Jet:
        width = add(self.read(high, places, order), self._minus(self.read(low, places, order)))
        self.model.demand_positive(width[0])
        return reciprocal(self.model.inverse(width[0]), width)

    def _minus(self, jet: Jet) -> Jet:
        return tuple(-scalar for scalar in jet)

    def _log_density(self, term: Density, places: Places, order: int) -> Jet:
        match term.law:
            case FiniteLaw():
                outcome = self._outcome_at(term.law, term.at, places)
                args, jets = self._law_arguments(term.law, outcome, places, order)
                value = self.model.log(self.probability(term.law, outcome, places, 0)[0])
                return (value, *self._score_jet(term.law, args, jets, order - 1)) if order else (value,)
            case NormalLaw(loc, scale):
                at, mean, sd = (self.read(part, places, order) for part in (term.at, loc, scale))
                value, slope = self._normal_log_density(at, mean, sd)
                value = value - self.model.log(sd[0]) - self.model.symbol(LOG_TWO_PI.name) * self.model.number(1) / 2
                return (value, *slope)
        width = self.read(term, places, order)
        inverse = reciprocal(self.model.inverse(width[0]), width)
        return (self.model.log(width[0]), *(multiply(width[1:], inverse[:-1]) if order else ()))

    def _normal_log_density(self, at: Jet, mean: Jet, sd: Jet) -> tuple[Scalar, Jet]:
        """Return -((at - mean) / sd)^2 / 2, and the jet of the derivative of the whole log-density."""
        self.model.demand_positive(sd[0])
        inverse = reciprocal(self.model.inverse(sd[0]), sd)
        ratio = multiply(add(at, self._minus(mean)), inverse)
        square = tuple(-scalar / 2 for scalar in multiply(ratio, ratio))
        if len(at) == 1:
            return square[0], ()
        return square[0], add(square[1:], self._minus(multiply(sd[1:], inverse[:-1])))

    def _score(self, term: Score, places: Places, order: int) -> Jet:
        if term.parameter.name != self.model.parameter:
            return self._other_score(term, places, order)
        match term.law:
            case FiniteLaw():
                outcome = self._outcome_at(term.law, term.at, places)
                args, jets = self._law_arguments(term.law, outcome, places, order + 1)
                return self._score_jet(term.law, args, jets, order)
            case UniformLaw(low, high):
                _demand_own(term.law, term.at)
                inverse = self.inverse_width(low, high, places, order + 1)
                width = add(self.read(high, places, order + 1), self._minus(self.read(low, places, order + 1)))
                return self._minus(multiply(width[1:], inverse[:-1]))
            case NormalLaw(loc, scale):
                at = self.read(term.at, places, order)
                if not all(scalar == 0 for scalar in at[1:]):
                    message = "the derivative of a score at a point that moves is not read: stop the gradient there."
                    raise NotEvaluable(message)
                mean, sd = self.read(loc, places, order + 1), self.read(scale, places, order + 1)
                return self._normal_log_density((*at, self.model.zero), mean, sd)[1]
            case NamedLaw():
                return self._known_score(term, term.law, places, order)
        self._refuse(term.law)

    def _known_score(self, term: Score, law: NamedLaw, places: Places, order: int) -> Jet:
        """Return the jet of the score of a law that is known by its name, by the chain rule over its parameters."""
        if not all(scalar == 0 for scalar in self.read(term.at, places, order)[1:]):
            message = "the derivative of a score at a point that moves is not read: stop the gradient there."
            raise NotEvaluable(message)
        moving = [i for i, part in enumerate(law.parameters) if moves(part, term.parameter)]
        slopes = KNOWN[law.name].slopes(term.at, *law.parameters)
        if any(slopes[i] == NONE for i in moving):
            refuse(law.name, "the score is no polynomial")
        written = Add(tuple(slopes[i] * Grad(law.parameters[i], term.parameter) for i in moving))
        self._kept.append(written)
        return self.read(written, places, order)

    def _other_score(self, term: Score, places: Places, order: int) -> Jet:
        """Return the jet of a score along a parameter that is not that of the jet."""
        self.refuse_stopped(term.law.terms, term.parameter)
        if isinstance(term.law, FiniteLaw):
            outcome = self._outcome_at(term.law, term.at, places)
            return self._score_along(term.law, outcome, places, order, term.parameter)
        if not all(scalar == 0 for scalar in self.along(self.read(term.at, places, order), term.parameter)):
            message = f"a score along {term.parameter.name} at a point that moves with it is not read."
            raise NotEvaluable(message)
        return self.along(self._log_density(Density(term.law, term.at), places, order), term.parameter)

    def _score_along(self, law: FiniteLaw, outcome: int, places: Places, order: int, parameter: Symbol) -> Jet:
        args, jets = self._law_arguments(law, outcome, places, order)
        family, result = partial(_log_probability, law.name, args), constant(self.model.zero, order, self.model.zero)
        for i, jet in enumerate(jets):
            orders = tuple(int(i == j) for j in range(len(jets)))
            result = add(result, multiply(self.smooth(family, jets, orders, order), self.along(jet, parameter)))
        return result

    def _refuse(self, law: Law) -> NoReturn:
        name = f"{type(law).__name__} {getattr(law, 'name', '')}".strip()
        message = f"nothing is known of the {name}, so it has no exact value: use a finite, normal or uniform law."
        raise NotEvaluable(message)


def _demand_own(law: UniformLaw, at: Term) -> None:
    """Refuse a uniform density at another point than a variable of its law: it is an indicator there, not a constant."""
    if not (isinstance(at, RandomVariable) and at.law == law):
        message = (
            "a uniform density is read at a variable of its own law only: at another point it is 1/width or 0, "
            "and jumps where the point crosses a bound."
        )
        raise NotEvaluable(message)


def _log_probability(name: str, args: tuple[Argument, ...], orders: tuple[int, ...]) -> Generator:
    return Generator("score", name, orders, args)
