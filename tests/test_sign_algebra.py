"""The algebra of signs: what it calls equal has one value at every point, zeros too, and what it leaves out it asks for."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from random import Random

import pytest

from derive.kernel.algebra import equal, tidy
from derive.kernel.premises import NonZero, Positive
from derive.kernel.theorem import algebra
from derive.language.errors import PremiseError
from derive.language.term import Add, Mul, Number, Power, Sign, Symbol
from derive.notation import (
    E,
    absolute,
    clip,
    constant,
    exp,
    finite,
    function,
    indicator,
    maximum,
    minimum,
    normal,
    p,
    parameter,
    sign,
)

x, y, c = constant("x"), constant("y"), constant("c")
b, f = finite("b", parameter("theta")), function("f")
POINTS = tuple(product((Fraction(-2), Fraction(-1, 3), Fraction(0), Fraction(1), Fraction(5, 2)), repeat=2))
HOLD = {
    "odd": (sign(-x), -sign(x)),
    "a sum is odd": (sign(c - x), -sign(x - c)),
    "a positive number": (sign(2 * x - 2 * c), sign(x - c)),
    "a negative number": (sign(-3 * x), -sign(x)),
    "cubed": (sign(x) ** 3, sign(x)),
    "to the fifth": (sign(x - y) ** 5, sign(x - y)),
    "the square of an absolute value": (absolute(x - y) ** 2, (x - y) ** 2),
    "a value is its size times its sign": (absolute(x) * sign(x), x),
    "a product": (sign(x * y), sign(x) * sign(y)),
    "an odd power": (sign(x**3), sign(x)),
    "an even power": (sign(x**2), sign(x) ** 2),
    "a sign of a sign": (sign(sign(x)), sign(x)),
    "what is positive": (sign(exp(x) * y), sign(y)),
    "a positive sum": (sign(1 + exp(x)), Number(Fraction(1))),
    "a negative sum": (sign(-1 - exp(x)), Number(Fraction(-1))),
    "a density": (sign(p(b) * f(b)), sign(f(b))),
    "zero": (sign(x - x), Number(Fraction(0))),
    "an indicator squared": (indicator(x) ** 2, indicator(x)),
    "two that exclude each other": (indicator(x) * indicator(-x), Number(Fraction(0))),
    "minimum and maximum": (minimum(x, y) + maximum(x, y), x + y),
    "their product": (minimum(x, y) * maximum(x, y), x * y),
    "either order": (maximum(x, y), maximum(y, x)),
    "under a mean": (E(sign(2 * f(b)), b), E(sign(f(b)), b)),
}
FAIL = {
    "squared": (sign(x) ** 2, Number(Fraction(1))),
    "an even power": (sign(x**2), Number(Fraction(1))),
    "even": (sign(-x), sign(x)),
    "another factor": (sign(x * y), sign(x)),
    "its square": (sign(x) ** 2, sign(x)),
    "the square of another sign": (x * sign(y) ** 2, x),
    "a factor that may be zero": (x * sign(x * y) ** 2, x),
    "a part of a sum": (x * sign(x - y) ** 2, x),
    "not zero by its shape": (sign(1 + x**2), sign(x)),
    "clipped": (clip(x, -1, 1), x),
}


@pytest.mark.parametrize("name", HOLD)
def test_the_identity_holds(name):
    assert equal(*HOLD[name])


@pytest.mark.parametrize("name", FAIL)
def test_what_fails_somewhere_is_not_called_equal(name):
    assert not equal(*FAIL[name])


def test_a_divisor_stays_a_premise():
    """sign(1/x) is sign(x) where there is a 1/x."""
    with pytest.raises(PremiseError, match="NonZero"):
        algebra(sign(1 / x), sign(x))
    assert algebra(sign(1 / x), sign(x), assuming=frozenset({NonZero(x)})).assumptions == {NonZero(x)}


@pytest.mark.parametrize("inside", [p(normal("z", 0, c)) * y, 3 * y * p(normal("z", 0, c))])
def test_what_is_left_out_of_a_sign_must_be_positive(inside):
    with pytest.raises(PremiseError, match="Positive"):
        algebra(sign(inside), sign(y))
    assert algebra(sign(inside), sign(y), assuming=frozenset({Positive(c)})).assumptions == {Positive(c)}


@pytest.mark.parametrize("number", [1, -1])
def test_a_sum_that_is_left_out_must_be_positive(number):
    summed = number * (p(normal("z", 0, c)) + p(normal("z", 1, c)))
    with pytest.raises(PremiseError, match="Positive"):
        algebra(sign(summed), Number(Fraction(number)))
    assert algebra(sign(summed), Number(Fraction(number)), assuming=frozenset({Positive(c)})).assumptions == {Positive(c)}


def value(term, at):
    """Return the value at a point, None where it divides by zero."""
    match term:
        case Number(number):
            return number
        case Symbol(name):
            return at[name]
        case Sign(arg):
            inner = value(arg, at)
            return None if inner is None else Fraction((inner > 0) - (inner < 0))
        case Power(base, exponent):
            inner = value(base, at)
            return None if inner is None or (inner == 0 and exponent < 0) else inner**exponent
        case Add(args) | Mul(args):
            values = [value(arg, at) for arg in args]
            result = Fraction(isinstance(term, Mul))
            for one in values:
                if one is None:
                    return None
                result = result + one if isinstance(term, Add) else result * one
            return result
    raise NotImplementedError(type(term).__name__)


def random_term(random, depth):
    if not depth:
        return random.choice([x, y, x - y, x + y - 1, Number(Fraction(random.randint(-2, 2)))])
    left, right = (random_term(random, random.randrange(depth)) for _ in range(2))
    ways = [left + right, left * right, sign(left), sign(-left), absolute(left), minimum(left, right), maximum(left, right)]
    ways += [indicator(left), left**2, sign(left) ** random.choice([2, 3, 4, 5]), sign(left * right), clip(left, right, 1)]
    ways += [left / right] if random.randrange(3) == 0 and not equal(right, 0 * x) else []
    return random.choice(ways)


@pytest.mark.parametrize("batch", [0, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_the_normal_form_has_the_value_of_the_term_at_every_point(batch):
    """Also where it is zero, and where arguments are equal; 100 random terms of each batch, each at 25 points."""
    random, seen = Random(batch), 0
    for _ in range(100):
        term = random_term(random, 2)
        normal_form = tidy(term)
        for first, second in POINTS:
            at = {"x": first, "y": second}
            expected = value(term, at)
            if expected is not None:
                seen += 1
                assert value(normal_form, at) == expected, (at, term)
    assert seen > 1500
