"""The numerical reading: the value of a term on an instance, with every derivative that its gradient signs ask for.

A gradient sign adds an infinitesimal to its parameter and reads the coefficient off (`derive.instances.jets`), so what is
not the parameter is held fixed, and gradients inside gradients do not meet. A bound variable is a new axis of arrays: its
values are outcomes or quadrature nodes. Where a threshold, a step or the end of a density lies inside the support of a
continuous variable, the interval is cut there; such a cut moves with the parameters, and so do the nodes between cuts.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np

from derive.instances import explicit, jets
from derive.instances.arrays import demand, logit, neighbours, row
from derive.instances.charts import Chart, Interval, Line, Rule, spread
from derive.instances.cuts import Switch, cuts_in, sampled_for
from derive.instances.densities import log_normal
from derive.instances.errors import UnreadableError
from derive.instances.functions import POSITIVE
from derive.instances.instance import Instance
from derive.instances.jets import Array, Jet, add, chosen, coefficient, constant, multiply, scaled, subtract
from derive.instances.named import COUNTED, FAMILIES, ended, kink, sums
from derive.instances.place import Place
from derive.instances.roots import ordered, zeros
from derive.language.choice import ChoiceLaw
from derive.language.scope import depends, free, moves
from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Density,
    DensityLaw,
    Entry,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Grad,
    Latent,
    Law,
    Log,
    Mul,
    NamedLaw,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    Sign,
    Slope,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    anywhere,
)

_BULK = 0.7
_ROUNDING = 1e-13


class Evaluator:
    """Reads terms on an instance by a rule of integration.

    Args
        instance  what every name stands for
        rule      how integrals are computed
        noise     the relative error that every summand is given
        careful   whether to refuse integrands that vary fast from one node to the next

    >>> from derive.instances.instance import Needs
    >>> from derive.language.notation import E, normal
    >>> z = normal("z", 2, 3)
    >>> round(float(Evaluator(Instance(0, 0, Needs()), Rule(0.25, 0.5)).value(E(z**2, z))), 9)
    13.0
    """

    instance: Instance
    rule: Rule
    kind: type[Any]
    noise: float
    careful: bool

    def __init__(self, instance: Instance, rule: Rule, noise: float = 0.0, *, careful: bool = False) -> None:
        self.instance, self.rule, self.kind, self.noise, self.careful = instance, rule, rule.kind, noise, careful
        self._dice = instance.random("noise")
        self._free: dict[RandomVariable, Jet] = {}
        self._depends: dict[tuple[int, int], bool] = {}
        self._masses: dict[tuple[Any, ...], tuple[tuple[Jet, ...], Jet]] = {}

    def value(self, term: Term) -> Any:
        """Return the value of a term without bound variables outside, a float or a longer one.

        Raises
            UnreadableError, if it is not defined on the instance, or no number.
        """
        with np.errstate(all="ignore"):
            found = self.read(term, Place())[0]
        if found.size != 1 or not np.isfinite(found).all():
            message = "a value on the instance is no finite number."
            raise UnreadableError(message)
        return found.reshape(())[()]

    def read(self, term: Term, place: Place) -> Jet:
        """Return the jet of a term."""
        known = place.known.get(id(term))
        if known is None and place.outside is not None and not self._depends_on(term, place.last):
            known = place.known[id(term)] = self.read(term, place.outside)
        if known is None:
            known = place.known[id(term)] = self._read(term, place)
        return known

    def _read(self, term: Term, place: Place) -> Jet:
        match term:
            case Number(value):
                return constant(self.kind(value.numerator) / self.kind(value.denominator), self.kind)
            case Symbol(name):
                return place.symbols.get(name) or constant(self.instance.symbol(name), self.kind)
            case RandomVariable():
                return place.bound[term] if term in place.bound else self._free_value(term)
            case Add(args):
                return reduce(add, [self._shaken(self.read(arg, place)) for arg in args])
            case Entry(values, entries, at):
                return explicit.looked_up(values, [self.read(one, place) for one in entries], self.read(at, place))
            case Mul(args):
                return reduce(multiply, [self.read(arg, place) for arg in args])
            case Power(base, exponent):
                return jets.power(self.read(base, place), exponent)
            case Log(Density(law, at)):
                return self.log_density(law, self.read(at, place), place)
            case Log(arg):
                return jets.log(self.read(arg, place))
            case Exp(arg):
                return jets.exp(self._resolved(self.read(arg, place), place))
            case Sigmoid(arg):
                return jets.sigmoid(self._resolved(self.read(arg, place), place))
            case Sign(arg):
                return self._sign(arg, place)
            case Stop(body):
                return self.read(body, place.stopped())
            case Grad(body, parameter):
                inner, bit = self._moved(place, parameter)
                return coefficient(self.read(body, inner), bit)
            case Density(law, at):
                return self.density(law, self.read(at, place), place)
            case Score(law, at, parameter):
                inner, bit = self._moved(place, parameter)
                found = coefficient(self.log_density(law, self.read(at, place), inner), bit)
                return self._scored(law, found, self.read(at, place), place)
            case Apply():
                return self._apply(term, place)
            case Expect(body, variable) | Over(body, variable):
                return self._expect(term, body, variable, place)
        message = f"a {type(term).__name__} has no numerical reading."
        raise UnreadableError(message)

    def _sign(self, arg: Term, place: Place) -> Jet:
        """Return a sign, which has no derivative at a zero that moves, and is not known near one that may be rounding.

        A zero that is one because a stop holds it may move in higher derivatives than are read.
        """
        jet = self.read(arg, place)
        at_zero = jet[0] == 0
        turns = any(np.any(at_zero & (part != 0)) for bits, part in jet.items() if bits)
        held = np.any(at_zero) and anywhere(arg, lambda part: isinstance(part, Stop))
        turns |= bool(held) and any(len(jet) > 1 and moves(arg, Symbol(name)) for name, jet in place.symbols.items())
        if turns or np.any(~at_zero & (np.abs(jet[0]) < _ROUNDING)):
            message = "a sign of what cannot be told from zero."
            raise UnreadableError(message)
        return constant(np.sign(jet[0]), self.kind)

    def _scored(self, law: Law, score: Jet, at: Jet, place: Place) -> Jet:
        """Return a score, which is taken as zero where its finite law is: the product with its density has a value there."""
        return chosen(self.density(law, at, place)[0] > 0, score) if isinstance(law, FiniteLaw) else score

    def _resolved(self, jet: Jet, place: Place) -> Jet:
        """Return the argument of what may be a narrow peak, where the nodes are near enough to one another to see it."""
        if self.careful and not place.is_smooth(jet[0]):
            message = "an integrand varies too fast for the rule of integration."
            raise UnreadableError(message)
        return jet

    def _shaken(self, jet: Jet) -> Jet:
        """Return a summand with a small relative error: what cancels then shows that it is not known better than that."""
        return scaled(jet, 1 + self.noise * self._dice.uniform(-1, 1)) if self.noise else jet

    def _moved(self, place: Place, parameter: Symbol) -> tuple[Place, int]:
        return place.moved(parameter, self.read(parameter, place))

    def _depends_on(self, term: Term, variable: RandomVariable | None) -> bool:
        """Whether a term depends on the variable that was bound last."""
        key = (id(term), id(variable))
        if key not in self._depends:
            self._depends[key] = variable in free(term)
        return self._depends[key]

    # Functions

    def _apply(self, term: Apply, place: Place) -> Jet:
        function, args = term.function, [self.read(arg, place) for arg in term.args]
        match function:
            case Latent() | ConditionalLatent() | SoftThreshold() | Threshold() if function.law is None:
                message = f"the map {function.name} of a relaxation has no law."
                raise UnreadableError(message)
            case Threshold():
                return self._threshold(term, args, place)
            case Latent(law=FiniteLaw() as law):
                return self.latent(law, args[0], tuple(args[1:]), place)
            case ConditionalLatent(law=FiniteLaw() as law):
                return self._conditional(law, args, place)
            case SoftThreshold(law=FiniteLaw() as law):
                return self._soft(law, args[0], args[1], place)
            case Slope():
                return self._slope(function, args[0], place)
        return self.instance.function(function.name, len(args))(*(self._resolved(arg, place) for arg in args))

    def _slope(self, function: Slope, arg: Jet, place: Place) -> Jet:
        """Return a derivative of a function: the coefficient of infinitesimals that no gradient sign around has."""
        whole, order = function.orders
        bits = [1 << (place.bits + i) for i in range(order)]
        moved = {**self._resolved(arg, place), **{bit: np.ones((), arg[0].dtype) for bit in bits}}
        found = self.instance.function(whole.name, 1)(moved)
        for bit in bits:
            found = coefficient(found, bit)
        sign = self.instance.needs.signs.get((Function, function.name))
        if sign is not None and not np.all(found[0] > 0 if sign == POSITIVE else found[0] != 0):
            message = f"{function.name} has not the sign that is asked of it."
            raise UnreadableError(message)
        return found

    def _threshold(self, term: Apply, args: list[Jet], place: Place) -> Jet:
        match term.args:
            case (Apply(ConditionalLatent(law=law), (_, outcome, *_)),) if law == term.function.law:  # type: ignore[attr-defined]
                return jets.base(self.read(outcome, place))
        cuts = self.instance.cuts_of(term.function.law)  # type: ignore[attr-defined]
        above = sum((args[0][0] > cut for cut in cuts), start=np.zeros(args[0][0].shape, int))
        return constant(self.instance.values[above], self.kind)

    def latent(self, law: FiniteLaw, u: Jet, args: tuple[Jet, ...], place: Place) -> Jet:
        """Return h(u, args): the quantile at u of a logistic law whose mass between the cuts is that of the outcomes."""
        below = self._cumulative(law, args, place)
        cuts, slope = self.instance.cuts_of(law), constant(self.instance.slope, self.kind)
        first = logit(row(below, 1))
        if len(cuts) > 1:
            slope = multiply(constant(cuts[1] - cuts[0], self.kind), jets.power(subtract(logit(row(below, 2)), first), -1))
        return add(constant(cuts[0], self.kind), multiply(slope, subtract(logit(u), first)))

    def _conditional(self, law: FiniteLaw, args: list[Jet], place: Place) -> Jet:
        """Return h_tilde(v, b, args): h at the point of the interval of b that v says."""
        v, outcome, *others = args
        below = self._cumulative(law, tuple(others), place)
        here = self._which(outcome, place)
        low = jets.total(multiply({b: part[:-1] for b, part in below.items()}, here), place.depth)
        high = jets.total(multiply({b: part[1:] for b, part in below.items()}, here), place.depth)
        return self.latent(law, add(low, multiply(subtract(high, low), v)), tuple(others), place)

    def _cumulative(self, law: FiniteLaw, args: tuple[Jet, ...], place: Place) -> Jet:
        """Return P(outcome < k) for k = 0, 1, ..., along a first axis."""
        masses = self.masses(law, args, place.depth)
        return {b: np.concatenate([0 * part[:1], np.cumsum(part, axis=0)]) for b, part in masses.items()}

    def _soft(self, law: FiniteLaw, z: Jet, temperature: Jet, place: Place) -> Jet:
        """Return the outcome with each step between two outcomes made soft."""
        values, inverse = self.instance.values[self.instance.support(law)], jets.power(temperature, -1)
        self._resolved(multiply(z, inverse), place)
        result = constant(values[0], self.kind)
        for cut, step in zip(self.instance.cuts_of(law), np.diff(values), strict=True):
            result = add(result, scaled(jets.sigmoid(multiply(subtract(z, constant(cut, self.kind)), inverse)), step))
        return result

    # Laws

    def _terms(self, law: Law, place: Place) -> tuple[Jet, ...]:
        return tuple(self.read(term, place) for term in law.terms)

    def masses(self, law: FiniteLaw, args: tuple[Jet, ...], depth: int) -> Jet:
        """Return the probabilities of the outcomes along a first axis, above `depth` others."""
        key = (law.name, len(law.given), *map(id, args))
        if key not in self._masses:
            least = max((part.ndim for arg in args for part in arg.values()), default=0)
            self._masses[key] = args, self.instance.table(law, len(args))(args, least)
        shape = (1,) * depth
        found = self._masses[key][1]
        return {b: part.reshape(part.shape[:1] + shape[part.ndim - 1 :] + part.shape[1:]) for b, part in found.items()}

    def _which(self, at: Jet, place: Place) -> Jet:
        """Return 1 along a first axis at the outcome that stands there."""
        values = self.instance.values.reshape((-1,) + (1,) * place.depth)
        here = abs(at[0] - values) < 1e-9
        if not here.any(axis=0).all():
            message = "the probability of something that is no outcome."
            raise UnreadableError(message)
        return {0: here.astype(self.kind)}

    def density(self, law: Law, at: Jet, place: Place) -> Jet:
        """Return p(at); zero outside of the support."""
        if isinstance(law, ChoiceLaw):
            return explicit.mass(law, at, self._terms(law, place))
        if isinstance(law, FiniteLaw):
            args = self._terms(law, place)
            masses = self.masses(law, args, place.depth)
            return jets.total(multiply(masses, self._which(at, place)), place.depth)
        inside = self._inside(law, at, place)
        found = jets.exp(self.log_density(law, at, place))
        return found if inside is True else chosen(np.asarray(inside), found)

    def log_density(self, law: Law, at: Jet, place: Place) -> Jet:
        """Return log p(at)."""
        args = self._terms(law, place)
        match law:
            case NormalLaw():
                demand(args[1][0] > 0, "a scale is not positive.")
                self._resolved(multiply(at, jets.power(args[1], -1)), place)
                return log_normal(at, *args)
            case UniformLaw():
                width = subtract(args[1], args[0])
                demand(width[0] > 0, "an interval is empty.")
                return add(scaled(jets.log(width), -1), scaled(jets.base(at), 0))
            case DensityLaw() if not isinstance(law, ChoiceLaw):
                self._demand_law(law, place)
                self._resolved(at, place)
                return self.instance.family(law).log_density(at, args)
        return jets.log(self.density(law, at, place))

    def ends(self, law: Law, place: Place) -> tuple[Jet, ...]:
        """Return the finite ends of the support of a continuous law."""
        args = self._terms(law, place)
        return self.instance.family(law).ends(args) if isinstance(law, DensityLaw) else args

    def count_of_ends(self, law: Law) -> int:
        """Return how many finite ends the support has."""
        return self.instance.family(law).count_of_ends if isinstance(law, DensityLaw) else 2

    def support(self, law: Law) -> tuple[float, float]:
        """Return the ends of the support of a law on this instance, infinite where there is none."""
        if isinstance(law, (FiniteLaw, NormalLaw, ChoiceLaw)):
            return -np.inf, np.inf
        ends = [float(end[0]) for end in self.ends(law, Place())]
        return (ends[0] if ends else -np.inf), (ends[1] if len(ends) > 1 else np.inf)

    def _inside(self, law: Law, at: Jet, place: Place) -> Array | bool:
        args = self._terms(law, place)
        if isinstance(law, UniformLaw):
            return (at[0] > args[0][0]) & (at[0] < args[1][0])
        return self.instance.family(law).inside(at, args) if isinstance(law, DensityLaw) else True

    def chart(self, law: Law, place: Place) -> Chart:
        """Return a chart of the support of a continuous law."""
        args = self._terms(law, place)
        match law:
            case NormalLaw():
                demand(args[1][0] > 0, "a scale is not positive.")
                return Line(args[0][0], args[1][0])
            case UniformLaw():
                demand(args[1][0] > args[0][0], "an interval is empty.")
                return Interval(args[0], args[1])
            case DensityLaw():
                self._demand_law(law, place)
                return self.instance.family(law).chart(args)
        message = f"a {type(law).__name__} has no continuous support."
        raise UnreadableError(message)

    def _demand_law(self, law: DensityLaw, place: Place) -> None:
        for term in law.positives if isinstance(law, NamedLaw) else ():
            demand(self.read(term, place)[0] > 0, f"a parameter of a law {law.name} is not positive.")

    def _free_value(self, variable: RandomVariable) -> Jet:
        """Return the value that a free variable stands for, somewhere in its support."""
        if variable not in self._free:
            rng = self.instance.random("free", variable.name)
            if isinstance(variable.law, FiniteLaw):
                value = constant(rng.choice(self.instance.values[self.instance.support(variable.law)]), self.kind)
            elif isinstance(variable.law, ChoiceLaw):
                value = constant(rng.choice(explicit.points(variable.law)), self.kind)
            elif sums(variable.law):
                value = constant(int(rng.integers(4)), self.kind)
            else:
                chart = self.chart(variable.law, Place())
                spot = (chart.low + chart.high) / 2 + (chart.high - chart.low) * rng.uniform(-0.08, 0.08)
                value = jets.base(chart.point(constant(spot, self.kind)))
            self._free[variable] = value
            self.instance.used[f"the value of {variable.name}"] = f"{float(value[0]):.17g}"
        return self._free[variable]

    # Sums and integrals

    def _expect(self, term: Expect | Over, body: Term, variable: RandomVariable, place: Place) -> Jet:
        law = variable.law
        known = isinstance(term, Expect) and not (isinstance(law, DensityLaw) and not law.normalised)
        if known and not depends(body, variable):
            return self.read(body, place)
        discrete = sums(law)
        values, weights = self._outcomes(law, place) if discrete else self._nodes(body, variable, place)
        weighted = weights if discrete else multiply(weights, self._own_density(law, values, place))
        if not isinstance(term, Expect):
            weights = constant(np.ones(values[0].shape), self.kind) if discrete else weights
        if self.careful:
            self._demand_reached(body, variable, values, place)
        inner = place.binding(variable, values, None if discrete else neighbours(values[0], weighted[0]))
        summands = multiply(self._jittered(weighted if isinstance(term, Expect) else weights), self.read(body, inner))
        if discrete and not isinstance(law, (FiniteLaw, ChoiceLaw)):
            demand(ended(summands, place.depth), "a sum has not ended.")
        return jets.total(summands, place.depth)

    def _demand_reached(self, body: Term, variable: RandomVariable, values: Jet, place: Place) -> None:
        """Refuse a law that is sampled in place of another one which has mass where no node of it is."""
        for law in sampled_for(body, variable):
            chart = self.chart(law, place)
            ends = np.array([chart.low, chart.high]) * (_BULK if chart.falls else 1)
            bulk = chart.point(constant(ends.reshape((-1,) + (1,) * place.depth), self.kind))[0]
            margin, nodes = 1e-9 * (1 + abs(bulk).max(axis=0)), values[0]
            reached = (nodes.min(axis=0) <= bulk.min(axis=0) + margin) & (nodes.max(axis=0) >= bulk.max(axis=0) - margin)
            demand(reached, f"the law that {variable.name} stands in for has mass far out.")

    def _jittered(self, weights: Jet) -> Jet:
        if not self.noise:
            return weights
        errors = self.noise * self._dice.uniform(-1, 1, weights[0].shape)
        return scaled(weights, 1 + errors)

    def _outcomes(self, law: Law, place: Place) -> tuple[Jet, Jet]:
        if isinstance(law, ChoiceLaw):
            return explicit.outcomes(law, self._terms(law, place), place.depth, self.kind)
        if not isinstance(law, FiniteLaw):
            counted = constant(np.arange(COUNTED).reshape((-1,) + (1,) * place.depth), self.kind)
            return counted, self._own_density(law, counted, place)
        args = self._terms(law, place)
        here = self.instance.support(law)
        values = constant(self.instance.values[here].reshape((-1,) + (1,) * place.depth), self.kind)
        return values, {bits: part[here] for bits, part in self.masses(law, args, place.depth).items()}

    def _own_density(self, law: Law, values: Jet, place: Place) -> Jet:
        """Return the density at nodes of the law's own support."""
        return jets.exp(self.log_density(law, values, replace(place, depth=place.depth + 1)))

    def _nodes(self, body: Term, variable: RandomVariable, place: Place) -> tuple[Jet, Jet]:
        chart = self.chart(variable.law, place)
        return spread(chart, self.rule, self._breaks(chart, body, variable, place), place.depth)

    def _breaks(self, chart: Chart, body: Term, variable: RandomVariable, place: Place) -> Jet | None:
        """Return where the body jumps, in the chart's coordinate, in increasing order along a first axis."""
        roots: list[Jet] = []
        if isinstance(variable.law, NamedLaw) and FAMILIES[variable.law.name].kinked:
            roots.append(kink(self._terms(variable.law, place), place.depth))
        for switch, cuts in cuts_in(body, variable, self):
            for cut in cuts:
                jump = partial(self._jump, switch, cut, chart, variable, place)
                found = zeros(jump, chart, self.rule.grid, place.bits, place.depth)
                if found is not None:
                    roots.append(found)
        return ordered(roots, place.depth) if roots else None

    def _jump(self, switch: Switch, cut: float, chart: Chart, variable: RandomVariable, place: Place, t: Jet, bits: int) -> Jet:
        """Return how far a switch is from a cut, at a point of the chart."""
        return subtract(switch(replace(place.binding(variable, chart.point(t)), bits=bits)), constant(cut, self.kind))
