"""Expectations over continuous noise, as linear functionals on polynomials in what depends on the noise.

A functional L may move with theta itself. `functional(m, j)` is its j-th derivative at a monomial m that is held fixed, so
that d^n/dtheta^n L(body) is the sum over j of binomial(n, j) times functional(d^(n-j) body, j). Nothing is swapped unasked:
where a threshold or a bound moves, the functional's own derivative is the boundary term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations_with_replacement, compress, product
from math import comb
from typing import Any, TypeAlias

from derive.language.errors import NotEvaluable
from derive.laws.models import SymbolicModel
from derive.numbers.jets import Jet, add, multiply, power
from derive.numbers.ring import Exponents, Scalar, refuse_power, total
from derive.numbers.unknowns import Generator, Monomial, Noise, Outcome, Value, readable

Functional: TypeAlias = Callable[[Exponents, int], Scalar]


def integrate(model: SymbolicModel, body: Jet, noise: str, functional: Functional) -> Jet:
    """Apply a functional to a body, a polynomial in the generators that depend on the noise.

    Raises
        NotEvaluable, from the functional, for a monomial that it does not know.
    """
    indices = frozenset(i for i in range(len(model.ring.keys)) if noise in model.noise_of(i))
    pieces = [model.ring.split(scalar, indices) for scalar in body]
    result = []
    for n in range(len(body)):
        terms = [
            comb(n, j) * (rest * functional(monomial, j)) for j in range(n + 1) for monomial, rest in pieces[n - j].items()
        ]
        result.append(total(terms, model.zero))
    return tuple(result)


class NormalMoments:
    """The moments of a normal variable; with `weighted`, the integral of its density times a polynomial.

    E z^(n+1) = loc E z^n + n scale^2 E z^(n-1).
    """

    model: SymbolicModel
    loc: Jet
    variance: Jet
    weighted: bool
    variable: Generator
    density: Generator

    def __init__(self, model: SymbolicModel, noise: str, loc: Jet, scale: Jet, *, weighted: bool) -> None:
        zero = (model.zero,) * (len(loc) - 1)
        self.model, self.loc, self.variance, self.weighted = model, loc, multiply(scale, scale), weighted
        self.variable = Generator("noise", noise)
        at = model.freeze(model.generator(self.variable, lambda along: model.zero))
        self.density = Generator("normal", "", (), (model.freeze(loc[0]), model.freeze(scale[0]), at))
        self.moments: list[Jet] = [(model.one, *zero), loc]

    def __call__(self, monomial: Exponents, order: int) -> Scalar:
        powers = {self.model.ring.keys[index]: n for index, n in monomial}
        degree, densities = powers.pop(self.variable, 0), powers.pop(self.density, 0)
        if powers or densities != self.weighted:
            _refuse(self.model, monomial, "normal")
        refuse_power(degree)
        while len(self.moments) <= degree:
            n = len(self.moments) - 1
            spread = tuple(n * scalar for scalar in multiply(self.variance, self.moments[n - 1]))
            self.moments.append(add(multiply(self.loc, self.moments[n]), spread))
        if self.weighted and order:
            return self.model.zero
        return self.moments[degree][order]


class UniformMoments:
    """The integral of powers from `low` to `high`: (high^(n+1) - low^(n+1)) / (n+1), whose derivative is the boundary term."""

    model: SymbolicModel
    low: Jet
    high: Jet
    variable: Generator
    one: tuple[Scalar, ...]

    def __init__(self, model: SymbolicModel, noise: str, low: Jet, high: Jet) -> None:
        self.model, self.low, self.high, self.variable = model, low, high, Generator("noise", noise)
        self.one = (model.one,) + (model.zero,) * (len(low) - 1)

    def __call__(self, monomial: Exponents, order: int) -> Scalar:
        powers = {self.model.ring.keys[index]: n for index, n in monomial}
        degree = powers.pop(self.variable, 0)
        if powers:
            _refuse(self.model, monomial, "uniform")
        ends = (power(end, degree + 1, self.one)[order] for end in (self.high, self.low))
        return (next(ends) - next(ends)) / (degree + 1)


class KnownMoments:
    """The moments of a law that is known by its name, one jet for each power; `moment` gives them in order."""

    model: SymbolicModel
    variable: Generator
    name: str
    moment: Callable[[int], Jet]

    def __init__(self, model: SymbolicModel, noise: str, name: str, moment: Callable[[int], Jet]) -> None:
        self.model, self.variable, self.name, self.moment = model, Generator("noise", noise), name, moment

    def __call__(self, monomial: Exponents, order: int) -> Scalar:
        powers = {self.model.ring.keys[index]: n for index, n in monomial}
        degree = powers.pop(self.variable, 0)
        if powers:
            _refuse(self.model, monomial, self.name)
        refuse_power(degree)
        return self.moment(degree)[order]


def _refuse(model: SymbolicModel, monomial: Exponents, law: str) -> None:
    factors = ", ".join(readable(model.ring.keys[index], model.parameter) for index, _ in monomial)
    message = f"under a {law} law only polynomials in the variable are integrated, not the product of {factors or 1}."
    raise NotEvaluable(message)


class Latents:
    """The moments of z = h(u, theta) and z_tilde = h_tilde(v, b, theta) that every relaxation of one finite law has.

    Given b = k, z_tilde has the law of z: a monomial m in functions of the latent variable alone has
    E[m(z); b = k] = p_k E[m(z_tilde) | b = k]. For fixed v nothing jumps, so d/dtheta E[m | b = k] = E[dm/dtheta | b = k].
    Summed over k nothing jumps in u either: what flows out of {H(z) = k} flows into another, so the fluxes of m sum to zero.
    Everything else is left unknown.

    Args
        model         a symbolic model
        law           the name of the law
        probability   the jet of p_k: `probability(k, order)`
        parameters    the names of the parameters with which the law moves, and with it the set where H(z) = k
    """

    model: SymbolicModel
    law: str
    probability: Callable[[int, int], Jet]
    moves: bool
    parameters: list[str]

    def __init__(
        self, model: SymbolicModel, law: str, probability: Callable[[int, int], Jet], parameters: frozenset[str]
    ) -> None:
        self.model, self.law, self.probability = model, law, probability
        self.moves, self.parameters = model.parameter in parameters, sorted(parameters)
        self.smooth: dict[Monomial, tuple[str, Exponents]] = {}
        self.jumping: dict[tuple[int, Monomial], tuple[str, Exponents]] = {}

    def conditional_functional(self, noise: str) -> Functional:
        """Return E over v: given b = k its law does not move, so its own derivative is zero."""
        return lambda monomial, order: self.model.zero if order else self.conditional(noise, monomial, None)

    def restricted_functional(self, noise: str, k: int) -> Functional:
        """Return E over u, restricted to {H(h(u, theta)) = k}."""

        def functional(monomial: Exponents, order: int) -> Scalar:
            if order and monomial:
                self.jumping.setdefault((order, self._canonical(noise, monomial)), (noise, monomial))
            return self.restricted(noise, monomial, k, order)

        return functional

    def conditional(self, noise: str, monomial: Exponents, k: int | None) -> Scalar:
        """Return E[m | b = k]; where k is None it is read off h_tilde(v, k, theta)."""
        if not monomial:
            return self.model.one
        keys = [self.model.ring.keys[index] for index, _ in monomial]
        outcomes = {k} if k is not None else _outcomes(keys, noise)
        canonical = self._canonical(noise, monomial, keep=len(outcomes) > 1)
        if len(outcomes) > 1:
            return self.model.generator(Generator("joint", self.law, (), (canonical,)))
        if _is_smooth(canonical):
            self.smooth.setdefault(canonical, (noise, monomial))
        only = outcomes.pop()
        return self.model.generator(
            Generator("moment", self.law, (), (Outcome(only), canonical)),
            lambda along: self._linear(noise, self._derivative(self.model.ring.monomial(monomial), (along,)), only, None),
        )

    def restricted(self, noise: str, monomial: Exponents, k: int, order: int) -> Scalar:
        """Return the derivative of E[m; b = k] of some order, with m held fixed as a function of u."""
        canonical = self._canonical(noise, monomial)
        if not monomial:
            return self.probability(k, order)[order]
        if order and not self.moves:
            return self.model.zero
        if not _is_smooth(canonical):
            kind, orders = ("flux", (order,)) if order else ("restricted", ())
            return self.model.generator(Generator(kind, self.law, orders, (Outcome(k), canonical)))
        p = self.probability(k, order)
        rates = [self._rate(noise, monomial, i) for i in range(order + 1)]
        moved = [comb(order, i) * (p[order - i] * self._linear(noise, rates[i], k, None)) for i in range(order + 1)]
        inside = [comb(order, i) * self._linear(noise, rates[order - i], k, i) for i in range(order)]
        return total(moved, self.model.zero) - total(inside, self.model.zero)

    def _rate(self, noise: str, monomial: Exponents, order: int) -> Scalar:
        rate = self.model.ring.monomial(monomial)
        for _ in range(order):
            rate = self.model.derivative(rate, self.model.parameter)
        return rate

    def _linear(self, noise: str, polynomial: Scalar, k: int, order: int | None) -> Scalar:
        """Extend `restricted` (or `conditional`, where order is None) to polynomials."""
        indices = frozenset(i for i in range(len(self.model.ring.keys)) if noise in self.model.noise_of(i))
        pieces = self.model.ring.split(polynomial, indices).items()
        if order is None:
            return total((rest * self.conditional(noise, m, k) for m, rest in pieces), self.model.zero)
        return total((rest * self.restricted(noise, m, k, order) for m, rest in pieces), self.model.zero)

    def constraints(self) -> list[Scalar]:
        """Return what is zero for every relaxation: fluxes summed over the outcomes, and E[m] differentiated in two ways."""
        result = [
            total((self.restricted(noise, monomial, k, order) for k in self._outcomes()), self.model.zero)
            for (order, _), (noise, monomial) in self.jumping.items()
        ]
        restricted = [key.args[1] for key in self.model.ring.keys if key.kind == "restricted" and key.name == self.law]
        for noise, monomial in list(self.smooth.values()):
            for size in range(1, _steepest(restricted) + 1):
                alongs = combinations_with_replacement(self.parameters, size)
                result += [self._both_ways(noise, monomial, along) for along in alongs]
        return result

    def _both_ways(self, noise: str, monomial: Exponents, along: tuple[str, ...]) -> Scalar:
        """Return a derivative of E[m], once as the sum of p_k E[m | b = k], less the same through the noise u."""
        whole, terms = self.model.ring.monomial(monomial), []
        for k in self._outcomes():
            for chosen in product((True, False), repeat=len(along)):
                p = self._derivative(self.probability(k, 0)[0], compress(along, chosen))
                rate = self._derivative(whole, (name for name, is_p in zip(along, chosen, strict=True) if not is_p))
                terms.append(p * self._linear(noise, rate, k, None))
            terms.append(-self._linear(noise, self._derivative(whole, along), k, 0))
        return total(terms, self.model.zero)

    def _derivative(self, scalar: Scalar, along: Iterable[str]) -> Scalar:
        for name in along:
            scalar = self.model.derivative(scalar, name)
        return scalar

    def _outcomes(self) -> range:
        return range(1, self.model.outcomes + 1)

    def _canonical(self, noise: str, monomial: Exponents, *, keep: bool = False) -> Monomial:
        keys = ((_rename(self.model.ring.keys[index], noise, keep=keep), n) for index, n in monomial)
        return tuple(sorted(keys, key=repr))


def _rename(part: Any, noise: str, *, keep: bool) -> Any:
    """Return a key with h(u, theta) and h_tilde(v, k, theta) replaced by z, so that their moments can be compared."""
    if isinstance(part, Generator) and part.kind == "latent" and part.args[0] == Noise(noise):
        args = tuple(arg for arg in part.args[1:] if keep or not isinstance(arg, Outcome))
        return Generator("path" if any(part.orders) else "z", "z", part.orders, args)
    if isinstance(part, Noise) or (isinstance(part, Generator) and part.kind in ("noise", "latent")):
        message = "a function of two noise variables at once, or of noise outside of its map, is not supported."
        raise NotEvaluable(message)
    if isinstance(part, Generator):
        return Generator(part.kind, part.name, part.orders, tuple(_rename(arg, noise, keep=keep) for arg in part.args))
    if isinstance(part, Value):
        terms = ((c, tuple(sorted(((_rename(g, noise, keep=keep), n) for g, n in m), key=repr))) for c, m in part.terms)
        return Value(tuple(sorted(terms, key=repr)))
    return part


def _steepest(part: object) -> int:
    """Return the highest derivative of the map from noise that occurs."""
    if isinstance(part, Generator) and part.kind == "path":
        return sum(part.orders)
    return max(map(_steepest, part), default=0) if isinstance(part, (tuple, list)) else 0


def _outcomes(part: object, noise: str) -> set[int]:
    if isinstance(part, Generator) and part.kind == "latent" and part.args[0] == Noise(noise):
        return {arg.number for arg in part.args if isinstance(arg, Outcome)}
    return set().union(*(_outcomes(inner, noise) for inner in part)) if isinstance(part, (tuple, list)) else set()


def _is_smooth(part: object) -> bool:
    """Whether a monomial is a function of the latent variable alone, without derivatives of the map from noise."""
    if isinstance(part, Generator) and part.kind == "path":
        return False
    return all(_is_smooth(inner) for inner in part) if isinstance(part, tuple) else True
