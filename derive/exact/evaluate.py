"""The reader: expectations, on top of algebra (`derive.laws.reading`) and densities (`derive.laws.densities`).

An expectation over a finite law is a sum over outcomes weighted with probabilities; over independent copies that the formula
treats alike it is a sum over multisets; over continuous noise it is a linear functional on polynomials
(`derive.laws.integrals`).
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from itertools import combinations_with_replacement
from math import comb, factorial
from typing import ClassVar, TypeAlias, cast

from derive.language.errors import NotEvaluable, TooLarge
from derive.language.scope import substitute
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
    Stop,
    Symbol,
    Term,
    UniformLaw,
    anywhere,
    lift,
    parts,
    rebuild,
)
from derive.laws.densities import DensityReading
from derive.laws.integrals import KnownMoments, Latents, NormalMoments, UniformMoments, integrate
from derive.laws.models import Model, SymbolicModel
from derive.laws.named import KNOWN
from derive.laws.occurrences import (
    chain_of,
    depends_on_symbol,
    frozen_parts,
    is_stopped_decision,
    maps_of,
    nested,
    stands_at_its_law,
    symbols_in,
    variables,
    variables_free,
)
from derive.laws.reading import Conditional, Decided, Node, Place, Places, Reading, Readings, Real
from derive.numbers.expansion import expand, independent_groups
from derive.numbers.jets import Jet, add, constant, multiply, power
from derive.numbers.ring import PolynomialRing, RingFullError, Scalar, rational, total
from derive.numbers.unknowns import Generator, Outcome

LIMIT = 100_000
SUMMANDS = 4096
_UNIT = UniformLaw(lift(0), lift(1))
Split: TypeAlias = list[tuple[Scalar, list[Term]]]  # numbers, and the means of which each is multiplied with the product


class Reader(DensityReading):
    """Reads terms in a model.

    Args
        model    gives the unknowns their generators or numbers
        terms    the terms that will be read: functions of a continuous variable in one of them are polynomials in all
        degree   the degree of these polynomials
        nodes    whether normal variables stand on the points of a base measure, so that functions of them are any functions
        symmetric  which expectations treat their copies alike, as another reader of the same terms has found

    >>> from derive.notation import E, finite, function, grad, parameter
    >>> theta = parameter("theta")
    >>> b, f = finite("b", theta), function("f")
    >>> model = SymbolicModel(PolynomialRing(16), 2, "theta")
    >>> term = grad(E(f(b), b), theta)
    >>> model.text(Reader(model, (term,)).read(term, {}, 0)[0])
    'p(1)*score(1)*f(1) + p(2)*score(2)*f(2)'
    """

    def __init__(
        self,
        model: Model,
        terms: tuple[Term, ...],
        degree: int = 3,
        *,
        nodes: bool = False,
        symmetric: dict[tuple[Term, int], bool] | None = None,
    ) -> None:
        super().__init__(model, terms, degree, nodes=nodes)
        self.latents: dict[FiniteLaw, Latents] = {}
        self._symmetric = {} if symmetric is None else symmetric
        self._splits: dict[int, Split | None] = {}
        self._spent = 0

    def _expect(self, term: Expect | Over, places: Places, order: int) -> Jet:
        variable, law = term.variable, term.variable.law
        if isinstance(term, Expect) and self.slot(variable) not in self.slots_in(term.body):
            return self.read(term.body, places, order) if type(law) is not DensityLaw else self._refuse(law)
        split = self._split(term) if isinstance(term, Expect) else None
        if split is not None:
            return self._sum_of_products(split, places, order)
        match law:
            case FiniteLaw():
                return self._finite(term, places, order)
            case NormalLaw() if self.nodes:
                self._refuse_frozen(term)
                return self._finite(term, places, order)
            case NormalLaw(loc, scale):
                noise = self.noise_name(variable)
                inner = self.read(term.body, {**places, self.slot(variable): Real(noise)}, order)
                jets = self.read(loc, places, order), self.read(scale, places, order)
                self.model.demand_positive(jets[1][0])
                moments = NormalMoments(self._symbolic(), noise, *jets, weighted=isinstance(term, Over))
                return integrate(self._symbolic(), inner, noise, moments)
            case UniformLaw():
                return self._uniform(term, law, places, order)
            case NamedLaw():
                return self._named(term, law, places, order)
        self._refuse(law)

    def _named(self, term: Expect | Over, law: NamedLaw, places: Places, order: int) -> Jet:
        if isinstance(term, Over):
            message = f"an integral or a sum over {term.variable.name} without the probabilities of {law.name} as a weight."
            raise NotEvaluable(message)
        for positive in law.positives:
            self._kept.append(positive)
            self.model.demand_positive(self.read(positive, places, 0)[0])
        noise, known, orders = self.noise_name(term.variable), KNOWN[law.name], dict[int, Jet]()
        inner = self.read(term.body, {**places, self.slot(term.variable): Real(noise)}, order)

        def moment(degree: int) -> Jet:
            if degree not in orders:
                self._kept.append(known.moment(degree, *law.parameters))
                orders[degree] = self.read(self._kept[-1], places, order)
            return orders[degree]

        return integrate(self._symbolic(), inner, noise, KnownMoments(self._symbolic(), noise, law.name, moment))

    def _refuse_frozen(self, term: Expect | Over) -> None:
        """Refuse what holds a sample fixed that moves with the parameter here, and integrals without a density."""
        if isinstance(term, Over):
            message = "an integral over a normal variable, without its density as a weight, needs a polynomial."
            raise NotEvaluable(message)
        for frozen in frozen_parts(term.body, term.variable):
            parameters = {self.model.parameter, frozen.parameter.name if isinstance(frozen, (Grad, Score)) else ""}
            if any(depends_on_symbol(part, parameters) for part in term.variable.law.terms):
                message = (
                    f"a {type(frozen).__name__} of the normal variable {term.variable.name}, whose law moves with the "
                    "parameter, is read of polynomials only: write the variable as loc + scale * noise."
                )
                raise NotEvaluable(message)

    def _symbolic(self) -> SymbolicModel:
        if not isinstance(self.model, SymbolicModel):
            message = "continuous variables are integrated symbolically, not at a rational case."
            raise NotEvaluable(message)
        return self.model

    def _uniform(self, term: Expect | Over, law: UniformLaw, places: Places, order: int) -> Jet:
        variable, model, noise = term.variable, self._symbolic(), self.noise_name(term.variable)
        maps = {t for t in maps_of(term.body) if t.args and t.args[0] == variable}
        laws = {m.function.law for m in maps if isinstance(m.function, Latent) and m.function.law is not None}
        if maps and (law != _UNIT or len(laws) > 1):
            message = f"the noise {variable.name} of a relaxation must be uniform on (0, 1) and decide one variable."
            raise NotEvaluable(message)
        if laws and any(isinstance(m.function, ConditionalLatent) for m in maps):
            return self._apart(term, places, order)
        if laws:
            return self._decided(term, laws.pop(), noise, places, order)
        if maps:
            inner = self.read(term.body, {**places, self.slot(variable): Conditional(noise)}, order)
            some = next(m.function.law for m in maps if isinstance(m.function, ConditionalLatent))
            return integrate(model, inner, noise, self._latents(cast("FiniteLaw", some)).conditional_functional(noise))
        inner = self.read(term.body, {**places, self.slot(variable): Real(noise)}, order)
        bounds = self.read(law.low, places, order), self.read(law.high, places, order)
        result = integrate(model, inner, noise, UniformMoments(model, noise, *bounds))
        return result if isinstance(term, Over) else multiply(result, self.inverse_width(law.low, law.high, places, order))

    def _apart(self, term: Expect | Over, places: Places, order: int) -> Jet:
        """Read summand by summand where one noise is in h and in h_tilde: of a product of the two no moment is known."""
        summands = expand(term.body, SUMMANDS) or []
        if len(summands) < 2:
            message = f"the noise {term.variable.name} is in h and in h_tilde of one product; draw two independent noises."
            raise NotEvaluable(message)
        means = [rebuild(term, (*term.variable.law.terms, Mul((Number(scale), *factors)))) for scale, factors in summands]
        self._kept += means
        return self._total([self.read(mean, places, order) for mean in means], order)

    def _decided(self, term: Expect | Over, law: FiniteLaw, noise: str, places: Places, order: int) -> Jet:
        self._spend(self.model.outcomes)
        if order and is_stopped_decision(term.body, term.variable):
            message = f"the noise {term.variable.name} decides an outcome at a stopped parameter, and its mean moves."
            raise NotEvaluable(message)
        latents, jets = self._latents(law), []
        for k in range(1, self.model.outcomes + 1):
            inner = self.read(term.body, {**places, self.slot(term.variable): Decided(noise, k)}, order)
            jets.append(integrate(self._symbolic(), inner, noise, latents.restricted_functional(noise, k)))
        return add(*jets)

    def _latents(self, law: FiniteLaw) -> Latents:
        if any(True for part in law.terms for _ in variables(part)):
            message = f"a relaxation of the conditional law {law.name} is not supported."
            raise NotEvaluable(message)
        if any(anywhere(part, lambda one: isinstance(one, Stop)) for part in law.terms):
            message = f"a relaxation of the law {law.name} with a stopped parameter is not read: write h(u, stop(theta))."
            raise NotEvaluable(message)
        strange = next((found for term in self.terms for found in maps_of(term) if not stands_at_its_law(found, law)), None)
        if strange is not None:
            message = (
                f"{strange.function.name} is read at the parameters of its own law {law.name} only, in their order: "
                "elsewhere it decides an outcome of another law."
            )
            raise NotEvaluable(message)
        for kind in (Latent, ConditionalLatent):
            maps = (found.function for term in self.terms for found in maps_of(term))
            if len({found.name for found in maps if isinstance(found, kind) and found.law == law}) > 1:
                message = f"two relaxations of the law {law.name} in one comparison are not supported."
                raise NotEvaluable(message)
        if law not in self.latents:
            model, moving = self._symbolic(), frozenset(symbols_in(self._arguments_of(law)))
            self.latents[law] = Latents(model, law.name, lambda k, order: self.probability(law, k, {}, order), moving)
        return self.latents[law]

    def _arguments_of(self, law: FiniteLaw) -> list[Term]:
        """Return what a law and the map from noise that decides it depend on."""
        maps = [found for term in self.terms for found in maps_of(term)]
        own = [found for found in maps if isinstance(found.function, Latent) and found.function.law == law]
        return [*law.terms, *(arg for found in own for arg in found.args[1:])]

    def _finite(self, term: Expect | Over, places: Places, order: int) -> Jet:
        chain: list[Expect] = chain_of(term) if isinstance(term, Expect) else []
        if len(chain) > 1 and self._is_symmetric(chain, places, order):
            return self._multisets(chain, places, order)
        outcomes, law = self.model.outcomes, term.variable.law
        _refuse_large(outcomes ** max(len(chain), 1), outcomes, term.variable.name)
        self._spend(outcomes)
        inner, slot, jets = dict(places), self.slot(term.variable), []
        for k in range(1, outcomes + 1):
            inner[slot] = self._place(law, k, places)
            body = self.read(term.body, inner, order)
            jets.append(multiply(body, self._probability(law, k, places, order)) if isinstance(term, Expect) else body)
        return self._total(jets, order)

    def _place(self, law: Law, k: int, places: Places) -> Place:
        if isinstance(law, FiniteLaw):
            return k
        slots = sorted({slot for part in law.terms for slot in self.slots_in(part)})
        return Node(k, tuple(places.get(slot) for slot in slots))

    def _probability(self, law: Law, k: int, places: Places, order: int) -> Jet:
        """Return the probability of an outcome, or the weight of a point of the base measure, which does not move."""
        if isinstance(law, FiniteLaw):
            return self.probability(law, k, places, order)
        weight = self.model.generator(Generator("weight", "w", (), (Outcome(k),)), self._zero)
        return constant(weight, order, self.model.zero)

    def _split(self, term: Expect) -> Split | None:
        if id(term) not in self._splits:  # it is kept, and with it what the means are known by
            self._splits[id(term)] = _split_of(term)
        return self._splits[id(term)]

    def _sum_of_products(self, split: Split, places: Places, order: int) -> Jet:
        jets = []
        for scale, means in split:
            jet = constant(self.model.one * scale, order, self.model.zero)
            for mean in means:
                jet = multiply(jet, self.read(mean, places, order))
            jets.append(jet)
        return self._total(jets, order)

    def _multisets(self, chain: list[Expect], places: Places, order: int) -> Jet:
        """Sum over multisets of outcomes with multinomial weights: the body is the same for all orders of the copies."""
        outcomes, copies, law = self.model.outcomes, len(chain), chain[0].variable.law
        count = comb(outcomes + copies - 1, copies)
        _refuse_large(count, outcomes, chain[0].variable.name)
        self._spend(count)
        one = constant(self.model.one, order, self.model.zero)
        probabilities = [self._probability(law, k, places, order) for k in range(1, outcomes + 1)]
        powers = [[power(p, n, one) for n in range(copies + 1)] for p in probabilities]
        inner, slots, body, jets = dict(places), [self.slot(node.variable) for node in chain], chain[-1].body, []
        for draw in combinations_with_replacement(range(outcomes), copies):
            for slot, k in zip(slots, draw, strict=True):
                inner[slot] = self._place(law, k + 1, places)
            jets.append(multiply(self.read(body, inner, order), self._weight(draw, powers)))
        return self._total(jets, order)

    def _weight(self, draw: tuple[int, ...], powers: list[list[Jet]]) -> Jet:
        counts = {k: draw.count(k) for k in draw}
        ways, weight = factorial(len(draw)), None
        for k, n in counts.items():
            ways //= factorial(n)
            weight = powers[k][n] if weight is None else multiply(weight, powers[k][n])
        return tuple(ways * scalar for scalar in cast("Jet", weight))

    def _total(self, jets: list[Jet], order: int) -> Jet:
        return tuple(total([jet[n] for jet in jets], self.model.zero) for n in range(order + 1))

    def _spend(self, count: int) -> None:
        self._spent += count
        _refuse_large(self._spent, self.model.outcomes, "all sums together")

    def _is_symmetric(self, chain: list[Expect], places: Places, order: int) -> bool:
        key = (chain[0], order)
        if key not in self._symmetric:
            self._symmetric[key] = self._compare_orders(chain, places, order)
        return self._symmetric[key]

    def stays_zero(self, term: Term, places: Places) -> bool:
        loose = self._loosened(term, places, {})
        capacity = 16
        while True:
            model = SymbolicModel(PolynomialRing(capacity), self.model.outcomes, self.model.parameter)
            reader = Reader(model, (loose,), self.degree, nodes=self.nodes)
            inner = {reader.slot(variable): places[self.slot(variable)] for variable in variables_free(loose)}
            try:
                return bool(reader.read(loose, inner, 0)[0] == 0)
            except RingFullError:
                capacity *= 2

    def _loosened(self, term: Term, places: Places, names: dict[Term, str]) -> Term:
        """Return a term in which what a stop holds is unknown, so that it is zero only if it is so wherever that stands.

        So are the signs in it, which do not turn here; a number where they are one.
        """
        if isinstance(term, (Stop, Sign)):
            return self._sign_here(term, places) or _unknown(term, names)
        *law, inner = parts(term) or (term,)
        if isinstance(term, (Expect, Over)):
            return rebuild(term, (*law, self._loosened(inner, places, names)))
        return rebuild(term, tuple(self._loosened(part, places, names) for part in parts(term))) if parts(term) else term

    def _sign_here(self, term: Stop | Sign, places: Places) -> Term | None:
        if isinstance(term, Stop) or any(self.slot(variable) not in places for variable in variables_free(term)):
            return None
        value = self.read(term, places, 0)[0]
        return next((lift(sign) for sign in (-1, 0, 1) if value == self.model.number(sign)), None)

    def _compare_orders(self, chain: list[Expect], places: Places, order: int) -> bool:
        """Read the body at distinct outcomes that no sum runs over, and at the same outcomes swapped and rotated.

        Equal polynomials there are equal at all outcomes: an outcome is only ever a label of a generator.
        """
        capacity = 16
        while True:
            model = SymbolicModel(PolynomialRing(capacity), self.model.outcomes, self.model.parameter)
            reader = Reader(model, self.terms, self.degree, nodes=self.nodes)
            outer = {reader.slot(v): places[slot] for v, slot in self._slots.items() if slot in places}
            fresh = {slot: _relabel(place, 1000 + slot) for slot, place in outer.items()}
            labels = [self._place(chain[0].variable.law, 2000 + i, places) for i in range(len(chain))]
            swapped, rotated = [labels[1], labels[0], *labels[2:]], labels[1:] + labels[:1]
            slots = [reader.slot(node.variable) for node in chain]
            try:
                orders = [fresh | dict(zip(slots, some, strict=True)) for some in (labels, swapped, rotated)]
                jets = [reader.read(chain[-1].body, inner, order) for inner in orders]
            except RingFullError:
                capacity *= 2
                continue
            return all(x == y for jet in jets[1:] for x, y in zip(jets[0], jet, strict=True))

    def _entry(self, term: Entry, places: Places, order: int) -> Jet:
        message = f"the entry of a table at {term.at}, which is not written out."
        raise NotEvaluable(message)

    readings: ClassVar[Readings] = {
        Number: Reading._number,
        Symbol: Reading._symbol,
        RandomVariable: Reading._variable,
        Apply: Reading._apply,
        Add: Reading._add,
        Mul: Reading._mul,
        Power: Reading._power,
        Log: Reading._log,
        Exp: Reading._exp,
        Sigmoid: Reading._sigmoid,
        Sign: Reading._sign,
        Entry: _entry,
        Density: DensityReading._density,
        Score: DensityReading._score,
        Expect: _expect,
        Over: _expect,
        Grad: Reading._grad,
        Stop: Reading._stop,
    }


def _unknown(term: Stop | Sign, names: dict[Term, str]) -> Term:
    """Return an unknown function of the outcomes in a term, the same for terms that differ in the names of variables only."""
    drawn = tuple(dict.fromkeys(variables_free(term)))
    pattern = substitute(term, {v: RandomVariable(f"place {i}", v.law) for i, v in enumerate(drawn)})
    name = names.setdefault(pattern, f"held {len(names)}")
    return Apply(Function(name), drawn) if drawn else Symbol(name)


@lru_cache(maxsize=256)
def _split_of(term: Expect) -> Split | None:
    """Return a mean over several draws as a sum of products of means over fewer draws, None where it is no such sum."""
    chain = nested(term)
    known = len(chain) > 1 and not any(type(node.variable.law) is DensityLaw for node in chain)
    summands = expand(chain[-1].body, SUMMANDS) if known else None
    return None if summands is None else _means(chain, summands)


def _means(chain: list[Expect], summands: list[tuple[Fraction, tuple[Term, ...]]]) -> Split | None:
    needs: dict[RandomVariable, frozenset[RandomVariable]] = {}
    for node in chain:
        own = (other for part in node.variable.law.terms for other in variables(part))
        needs[node.variable] = frozenset({node.variable}).union(*(needs.get(other, frozenset()) for other in own))
    result: list[tuple[Scalar, list[Term]]] = []
    known: dict[tuple[Term, ...], Term] = {}
    for scale, factors in summands:
        means = []
        for members, used in independent_groups(factors, lambda factor: _all_needed(needs, factor)):
            if len(used) == len(chain):
                return None
            if members not in known:
                known[members] = _mean(chain, members, [node.variable in used for node in chain])
            means.append(known[members])
        result.append((rational(scale), means))
    return result


def _all_needed(needs: dict[RandomVariable, frozenset[RandomVariable]], factor: Term) -> frozenset[RandomVariable]:
    return frozenset[RandomVariable]().union(*(needs[variable] for variable in variables(factor) if variable in needs))


def _mean(chain: list[Expect], factors: tuple[Term, ...], used: list[bool]) -> Term:
    """Return the mean of a product over the draws that it needs, in their order."""
    result = factors[0] if len(factors) == 1 else Mul(factors)
    for node, wanted in zip(reversed(chain), reversed(used), strict=True):
        result = Expect(result, node.variable) if wanted else result
    return result


def _relabel(place: Place, label: int) -> Place:
    if isinstance(place, Decided):
        return Decided(place.noise, label)
    if isinstance(place, Node):
        return Node(label, place.around)
    return label if isinstance(place, int) else place


def _refuse_large(count: int, outcomes: int, what: str) -> None:
    if count > LIMIT:
        feasible = next(n for n in range(64) if outcomes ** (n + 1) > LIMIT) if outcomes > 1 else 64
        message = (
            f"{what}: {count} cases are more than the {LIMIT} that are feasible; "
            f"with {outcomes} outcomes at most {feasible} copies are (more where the formula treats all alike)."
        )
        raise TooLarge(message)
