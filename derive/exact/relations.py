"""What the unknowns of a symbolic model satisfy, and the test for zero that uses it.

    x * (1/x) = 1;  sum of p_k = 1 and its derivatives;  sum of w_k = 1;  the fluxes of a relaxation sum to zero

Each relation is solved for one generator and cleared by multiplication, so that no fraction is ever simplified on the way: a
result is zero where the relations hold if and only if what remains is the zero polynomial.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product as tuples
from math import comb, prod
from typing import Any, NamedTuple

from derive.language.errors import NotEvaluable
from derive.laws.integrals import Latents
from derive.laws.models import SymbolicModel
from derive.numbers.ring import Scalar, product, quotient, refuse_large, size, total
from derive.numbers.unknowns import Argument, Generator, Outcome

_ROUNDS = 10


class Relation(NamedTuple):
    """A generator as a fraction of others: x = numerator / denominator."""

    pivot: int
    numerator: Scalar
    denominator: Scalar


class Relations:
    """All relations of a model, in an order in which each mentions only generators that later ones solve, or none does.

    Args
        model     the model, after everything was read
        latents   the relaxations that were met

    >>> from derive.numbers.unknowns import Outcome
    >>> from derive.numbers.ring import PolynomialRing
    >>> model = SymbolicModel(PolynomialRing(8), 2, "theta")
    >>> p, q = (model.generator(Generator("probability", "p", (), (Outcome(k),))) for k in (1, 2))
    >>> Relations(model, []).clear([p + q - model.one])[0] == 0
    True
    """

    def __init__(self, model: SymbolicModel, latents: Iterable[Latents]) -> None:
        self.model = model
        self._spent = 0
        self.rows: list[Relation] = []
        for constraint in [constraint for latent in latents for constraint in latent.constraints()]:
            self._solve(constraint)
        fluxes, self.rows = self.rows, []
        inverses = [Relation(index, model.one, scalar) for index, scalar in reversed(model.inverses)]
        self.rows += inverses + fluxes + inverses
        laws = list(model.laws)
        for name, args in laws:
            self.rows += self._scores(name, args)
        self.rows += [self._last_probability(name, args) for name, args in laws] + self._last_weight()
        for relation in inverses:
            if self.clear([relation.denominator])[0] == 0:
                message = f"division by zero: {model.text(relation.denominator)} is zero for every law."
                raise NotEvaluable(message)

    def clear(self, scalars: list[Scalar]) -> list[Scalar]:
        """Return scalars, each multiplied by the same non-zero factor, in free generators only.

        To know the factor, pass 1 among them.
        """
        met = self._met(scalars)
        for relation in self.rows:
            if relation.pivot in met:
                scalars = self._clear_one(scalars, relation)
                met = self._met(scalars)
        return scalars

    def _met(self, scalars: list[Scalar]) -> set[int]:
        return {index for scalar in scalars for index in self.model.ring.used(scalar)}

    def _clear_one(self, scalars: list[Scalar], relation: Relation) -> list[Scalar]:
        """Put numerator/denominator in place of the pivot, and multiply by the denominator as often as all of them need."""
        split = [self._divided(self.model.ring.powers(scalar, relation.pivot), relation.denominator) for scalar in scalars]
        degree = max(len(coefficients) for coefficients in split) - 1
        if not degree:
            return scalars
        tops = self._powers(relation.numerator, degree)
        needed = max(n - divided for some in split for n, (_, divided) in enumerate(some))
        bottoms = self._powers(relation.denominator, needed + max(divided for some in split for _, divided in some))
        factors = [[(c, tops[n], bottoms[needed - n + divided]) for n, (c, divided) in enumerate(some)] for some in split]
        return [total([self._multiplied(*some) for some in scalar], self.model.zero) for scalar in factors]

    def _divided(self, coefficients: list[Scalar], denominator: Scalar) -> list[tuple[Scalar, int]]:
        """Return the coefficient of each power n of a pivot divided by the denominator, up to n times, and how often.

        Where p(K) is the denominator of a score, it mostly stands beside it: then nothing is multiplied by it at all.
        """
        result = []
        for n, coefficient in enumerate(coefficients):
            divided = 0
            while divided < n and len(denominator) == 1 and (found := quotient(coefficient, denominator)) is not None:
                coefficient, divided = found, divided + 1
            result.append((coefficient, divided))
        return result

    def _powers(self, scalar: Scalar, degree: int) -> list[Scalar]:
        result = [self.model.one]
        for _ in range(degree):
            result.append(product(result[-1], scalar))
        return result

    def _multiplied(self, *factors: Scalar) -> Scalar:
        """Return a product, and count its terms before; `TooLarge` if all relations together need too many."""
        result, *others = factors
        for factor in others:
            self._spent += size(result) * size(factor)
            refuse_large(self._spent // _ROUNDS)
            result = product(result, factor)
        return result

    def _solve(self, constraint: Scalar) -> None:
        """Add the relation that a linear constraint gives for a moment of the noise u."""
        constraint = self.clear([constraint])[0]
        kinds = [(i, self.model.ring.keys[i]) for i in self.model.ring.used(constraint)]
        for index, key in reversed(kinds):
            if key.kind in ("restricted", "flux"):
                rest, coefficient = self.model.ring.powers(constraint, index)
                self.rows.append(Relation(index, -rest, coefficient))
                return

    def _scores(self, name: str, args: tuple[Argument, ...]) -> list[Relation]:
        """Return the derivatives of sum p_k = 1, each solved for the last outcome's derivative of log p, the highest first."""
        last = self.model.outcomes
        met = [
            key.orders
            for key in self.model.ring.keys
            if key.kind == "score" and key.name == name and key.args == (Outcome(last), *args)
        ]
        wanted = {below for orders in met for below in tuples(*(range(n + 1) for n in orders)) if any(below)}
        return [self._score(name, args, orders) for orders in sorted(wanted, key=lambda orders: (-sum(orders), orders))]

    def _score(self, name: str, args: tuple[Argument, ...], orders: tuple[int, ...]) -> Relation:
        last = self.model.outcomes
        own = self.model.generator(Generator("score", name, orders, (Outcome(last), *args)))
        terms = [self._p(name, args, k) * self._bell(name, args, k, orders) for k in range(1, last + 1)]
        rest = total(terms, self.model.zero) - self._p(name, args, last) * own
        index = self.model.ring.indices[Generator("score", name, orders, (Outcome(last), *args))]
        return Relation(index, -rest, self._p(name, args, last))

    def _bell(self, name: str, args: tuple[Argument, ...], k: int, orders: tuple[int, ...]) -> Scalar:
        """Return (1/p_k) times a derivative of p_k, in derivatives of log p_k."""
        if not any(orders):
            return self.model.one
        i = next(i for i, n in enumerate(orders) if n)
        below = (*orders[:i], orders[i] - 1, *orders[i + 1 :])
        terms = []
        for part in tuples(*(range(n + 1) for n in below)):
            raised = (*part[:i], part[i] + 1, *part[i + 1 :])
            score = self.model.generator(Generator("score", name, raised, (Outcome(k), *args)))
            rest = tuple(n - m for n, m in zip(below, part, strict=True))
            ways = prod(comb(n, m) for n, m in zip(below, part, strict=True))
            terms.append(ways * (score * self._bell(name, args, k, rest)))
        return total(terms, self.model.zero)

    def _p(self, name: str, args: tuple[Any, ...], k: int) -> Scalar:
        return self.model.generator(Generator("probability", name, (), (Outcome(k), *args)))

    def _last_weight(self) -> list[Relation]:
        """Return sum w_k = 1 for the weights of a base measure, solved for the last, where there is one."""
        keys = [Generator("weight", "w", (), (Outcome(k),)) for k in range(1, self.model.outcomes + 1)]
        if not any(key in self.model.ring.indices for key in keys):
            return []
        weights = [self.model.generator(key) for key in keys]
        rest = self.model.one - total(weights[:-1], self.model.zero)
        return [Relation(self.model.ring.indices[keys[-1]], rest, self.model.one)]

    def _last_probability(self, name: str, args: tuple[Argument, ...]) -> Relation:
        last = self.model.outcomes
        self._p(name, args, last)
        others = total([self._p(name, args, k) for k in range(1, last)], self.model.zero)
        index = self.model.ring.indices[Generator("probability", name, (), (Outcome(last), *args))]
        return Relation(index, self.model.one - others, self.model.one)
