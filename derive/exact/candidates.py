"""The points at which a difference is looked at: simple ones first, then ones in which nothing is equal to anything else.

Where nothing is equal, a polynomial that is not zero is hardly ever zero. So what is true of equal probabilities only, of a
denominator 1 only or of a scale 1 only is refuted too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from random import Random

from derive.exact.relations import Relations
from derive.laws.models import SymbolicModel
from derive.numbers.ring import Scalar
from derive.numbers.unknowns import APPLIED, LOG_TWO_PI, Argument, Generator, Value

_DETERMINED = ("probability", "inverse", "normal", *APPLIED)
_GENERAL = 24
_TERMS = 400_000
_SHAPES: tuple[Callable[[int, int], int], ...] = (
    lambda law, k: 1,
    lambda law, k: k,
    lambda law, k: 1 + law * (k - 1),
    lambda law, k: 2**k if law == 0 else law,
    lambda law, k: k * k + law,
)
"""The weights of the outcomes k = 1, 2, ... of law number 0, 1, ...; the first two are those of one law."""


class Candidates:
    """The points at which two scalars are compared, as values of the unknowns that nothing else determines.

    Args
        model       the model
        relations   what its unknowns satisfy
        difference  left minus right, cleared, and `factor`, by which it was multiplied for that
    """

    model: SymbolicModel
    difference: Scalar
    factor: Scalar
    free: list[int]

    def __init__(self, model: SymbolicModel, relations: Relations, difference: Scalar, factor: Scalar) -> None:
        self.model, self.difference, self.factor = model, difference, factor
        pivots = {row.pivot for row in relations.rows}
        keys = list(enumerate(model.ring.keys))
        self.free = [i for i, key in keys if i not in pivots and key.kind not in _DETERMINED and key != LOG_TWO_PI]

    def points(self, size: int, *, positive: bool) -> Iterator[dict[int, Fraction]]:
        """Yield points: fewer of the simple ones, the more terms there are to evaluate.

        Args
            size       how many terms
            positive   whether everything is positive in the simple ones, as logarithms want it
        """
        simple = chain.from_iterable(self._positive(start) if positive else self._sparse(start) for start in self._starts())
        budget = max(12, min(400, _TERMS // max(size, 1)))
        return chain(islice(simple, budget), islice(self.general(), min(budget, _GENERAL)))

    def _starts(self) -> Iterator[dict[int, Fraction]]:
        """Yield values of all probabilities and of the numbers that outcomes stand for: 0, 1, 2, ..., then others.

        Later ones make what stands in the arguments of functions and laws distinct too.
        """
        keys = [(i, key) for i, key in enumerate(self.model.ring.keys) if key.kind == "outcome"]
        shapes: list[Callable[[int], int]] = [lambda k: k - 1, lambda k: k, lambda k: k * k]
        inside = {i: Fraction(n) for n, i in enumerate(self._inside, 2)}
        for spread in ({}, inside) if inside else ({},):
            for shape in shapes if keys else shapes[:1]:
                numbers = {i: Fraction(shape(key.args[0].number)) for i, key in keys}
                for weight in _SHAPES if len(self._laws) > 1 else (_SHAPES[0], *_SHAPES[1:2], *_SHAPES[3:]):
                    yield spread | self._probabilities(weight) | numbers

    @cached_property
    def _laws(self) -> dict[tuple[str, tuple[Argument, ...]], int]:
        """The laws, each condition of a conditional one by itself, numbered."""
        return {law: number for number, law in enumerate(self.model.laws)}

    def _probabilities(self, weight: Callable[[int, int], int]) -> dict[int, Fraction]:
        result = {}
        for index, key in enumerate(self.model.ring.keys):
            if key.kind == "probability":
                law = self._laws[key.name, key.args[1:]]
                weights = [weight(law, k) for k in range(1, self.model.outcomes + 1)]
                result[index] = Fraction(weights[key.args[0].number - 1], sum(weights))
        return result

    @cached_property
    def _inside(self) -> list[int]:
        """The symbols and functions that occur in arguments of functions, and of laws that have several."""
        names = [name for name, _ in self._laws]
        several = {("probability", name) for name in names if names.count(name) > 1}
        keys = [key for key in self.model.ring.keys if key.kind == "function" or (key.kind, key.name) in several]
        values = [arg for key in keys for arg in key.args if isinstance(arg, Value)]
        inside = (key for value in values for _, monomial in value.terms for key, _ in monomial)
        return list(dict.fromkeys(self.model.ring.indices[key] for key in inside if key.kind in ("symbol", "function")))

    @cached_property
    def _needed(self) -> list[int]:
        """The unknowns that must not be zero: those of denominators and of scales."""
        scalars = [self.factor, *self.model.positive.values()]
        used = dict.fromkeys(index for scalar in scalars for index in self.model.ring.used(scalar))
        return [index for index in used if index in self.free]

    def _sparse(self, start: dict[int, Fraction]) -> Iterator[dict[int, Fraction]]:
        """Yield points where the difference is not zero: as few values as possible are not 0, and these are 1, 2, 3."""
        used, needed = set(self.model.ring.used(self.difference)), [i for i in self._needed if i not in start]
        sizes: tuple[Callable[[int], int], ...] = (lambda n: 1, lambda n: n + 2, lambda n: n * n + 1)
        for size in sizes if needed else sizes[:1]:
            fixed = start | {i: Fraction(size(n)) for n, i in enumerate(needed)}
            remaining = self.model.ring.restrict(self.difference, {i: value for i, value in fixed.items() if i in used})
            supports = {tuple(i for i, _ in exponents) for exponents, _ in self.model.ring.terms(remaining)}
            for support in sorted(supports, key=lambda some: (len(some), some))[:8]:
                for step in range(3):
                    values = {i: self._unit(i, start) * (1 + step * n) for n, i in enumerate(support, 1)}
                    yield fixed | {i: value for i, value in values.items() if i in self.free}

    def _positive(self, start: dict[int, Fraction]) -> Iterator[dict[int, Fraction]]:
        """Yield points where everything is 1, then where one thing is 2, then 1, 2, 3, ..."""
        others = [i for i in self.free if i not in start]
        ones = start | {i: self._unit(i, start) for i in others}
        yield ones
        for i in others:
            yield ones | {i: 2 * ones[i]}
        yield ones | {i: n * ones[i] for n, i in enumerate(others, 1)}

    def general(self) -> Iterator[dict[int, Fraction]]:
        """Yield points without any pattern, the first half of them positive; the same ones every time."""
        random = Random(0)
        for number in range(_GENERAL):
            signs = (1,) if number < _GENERAL // 2 else (1, 1, -1)
            scale = random.choice((1, 2, 4))
            weights = [[random.randint(1, 9) for _ in range(self.model.outcomes)] for _ in self._laws]
            chances = self._probabilities(lambda law, k, weights=weights: weights[law][k - 1])  # type: ignore[misc]
            yield chances | {i: Fraction(random.choice(signs) * random.randint(1, 12), scale) for i in self.free}

    def _unit(self, index: int, start: dict[int, Fraction]) -> Fraction:
        """Return 1, or for a score what makes the derivative of the probability 1."""
        key = self.model.ring.keys[index]
        if key.kind != "score" or sum(key.orders) != 1:
            return Fraction(1)
        density = Generator("probability", key.name, (), key.args)
        return 1 / start.get(self.model.ring.indices.get(density, -1), Fraction(1))
