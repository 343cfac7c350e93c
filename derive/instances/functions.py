"""Concrete functions and finite laws: random, smooth, and the same again for the same name and seed."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from derive.instances.jets import Array, Jet, add, constant, exp, multiply, power, scaled, sin, tanh, total

SIGNED, NONZERO, POSITIVE = "any sign", "not zero", "positive"


def generator(*key: object) -> np.random.Generator:
    """Return the random numbers that belong to a key.

    >>> generator("f", 1).random() == generator("f", 1).random() != generator("f", 2).random()
    True
    """
    digest = sha256(repr(key).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


@dataclass(frozen=True)
class Smooth:
    """c + a sin(s) + b tanh(t/2) + d s^2 with s, t linear in the arguments; or plus or minus the root of its exponential.

    A rough one jumps besides, where s passes `cut`.

    Args
        sign      `SIGNED`, `NONZERO` or `POSITIVE`
        inner     the coefficients of s and t: arrays of one constant and one number for each argument
        outer     c, a, b, d
        negative  whether the exponential has a minus sign
        jump      the size of the jump, 0 where there is none
        cut       where it jumps
    """

    sign: str
    inner: tuple[tuple[float, ...], tuple[float, ...]]
    outer: tuple[float, float, float, float]
    negative: bool = False
    jump: float = 0.0
    cut: float = 0.0

    def __call__(self, *args: Jet) -> Jet:
        """Return the value at jets."""
        s, t = self.switch(*args), _linear(self.inner[1], args)
        c, a, b, d = self.outer
        value = add(add(constant(c), scaled(sin(s), a)), add(scaled(tanh(scaled(t, 0.5)), b), scaled(multiply(s, s), d)))
        if self.sign != SIGNED:
            value = scaled(exp(scaled(value, 0.5)), -1 if self.negative else 1)
        return add(value, {0: np.where(s[0] > self.cut, self.jump, 0.0)}) if self.jump else value

    def switch(self, *args: Jet) -> Jet:
        """Return s, whose passing `cut` makes a rough function jump."""
        return _linear(self.inner[0], args)

    def text(self) -> str:
        """Return the formula, for a reader who wants to repeat it.

        >>> Smooth(POSITIVE, ((0.5, 1.0), (0.0, 2.0)), (0.1, 1.0, 0.0, 0.0)).text()
        'exp((0.1 + 1*sin(s))/2), s = 0.5 + 1*x1, t = 0 + 2*x1'
        """
        shapes = ("", "*sin(s)", "*tanh(t/2)", "*s^2")
        value = " + ".join(f"{c:.4g}{shape}" for c, shape in zip(self.outer, shapes, strict=True) if c)
        if self.sign != SIGNED:
            value = f"{'-' if self.negative else ''}exp(({value})/2)"
        jump = f" + {self.jump:.4g}*[s > {self.cut:.4g}]" if self.jump else ""
        lines = (" + ".join(f"{c:.4g}{f'*x{i}' if i else ''}" for i, c in enumerate(line)) for line in self.inner)
        return f"{value}{jump}, " + ", ".join(f"{name} = {line}" for name, line in zip("st", lines, strict=True))


def random_function(key: tuple[object, ...], arity: int, sign: str, *, rough: bool = False) -> Smooth:
    """Return the function that belongs to a key."""
    rng = generator(*key, arity)
    lines = [(rng.uniform(-0.8, 0.8), *(rng.uniform(0.4, 1.0, arity) * rng.choice((-1, 1), arity))) for _ in range(2)]
    inner = (tuple(map(float, lines[0])), tuple(map(float, lines[1])))
    outer = (*map(float, rng.uniform(0.5, 1.2, 3) * rng.choice((-1, 1), 3)), float(rng.uniform(0.1, 0.3)))
    negative = bool(rng.integers(2)) and sign == NONZERO
    jump = float(rng.uniform(0.7, 1.3)) if rough else 0.0
    cut = inner[0][0] + float(rng.uniform(-0.4, 0.4))
    return Smooth(sign, inner, (outer[0], outer[1], outer[2], 0.0 if sign != SIGNED else outer[3]), negative, jump, cut)


@dataclass(frozen=True)
class Table:
    """The probabilities of a finite law: softmax of one random smooth function of its terms for each outcome of its support."""

    functions: tuple[Smooth, ...]
    support: tuple[bool, ...]

    def __call__(self, args: tuple[Jet, ...], depth: int) -> Jet:
        """Return the probabilities along a new first axis, above the `depth` axes of the arguments."""
        rows = [scaled(exp(function(*args)), float(here)) for function, here in zip(self.functions, self.support, strict=True)]
        stacked = stack(rows, depth)
        return multiply(stacked, power(total(stacked, depth), -1))

    def text(self) -> str:
        """Return the formula, for a reader who wants to repeat it."""
        shown = (f.text() if here else "-infinity" for f, here in zip(self.functions, self.support, strict=True))
        return "softmax of " + "; ".join(shown)


def random_table(key: tuple[object, ...], arity: int, support: Array) -> Table:
    """Return the law that belongs to a key; its conditions are arguments as its parameters are."""
    functions = (random_function((*key, k), arity, SIGNED) for k in range(len(support)))
    return Table(tuple(functions), tuple(map(bool, support)))


def stack(rows: list[Jet], depth: int) -> Jet:
    """Return jets side by side along a new first axis."""
    bits = sorted(set().union(*rows))
    zero = np.zeros(())
    parts = {bit: [row.get(bit, zero) for row in rows] for bit in bits}
    shape = np.broadcast_shapes((1,) * depth, *(part.shape for column in parts.values() for part in column))
    return {bit: np.stack([np.broadcast_to(part, shape) for part in column]) for bit, column in parts.items()}


def _linear(coefficients: tuple[float, ...], args: tuple[Jet, ...]) -> Jet:
    result = constant(coefficients[0])
    for coefficient, arg in zip(coefficients[1:], args, strict=True):
        result = add(result, scaled(arg, coefficient))
    return result
