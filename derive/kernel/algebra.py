"""Scalar algebra, decided by FLINT polynomials: the only file that brings terms to a normal form or differentiates them.

A term is a rational function, with rational coefficients, of its atoms: symbols, densities, scores, functions, expectations and
gradients. Two terms are equal when the difference of the two rational functions is the zero polynomial. That holds wherever the
denominators are not zero; `denominators` lists them, and the kernel makes premises of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

from flint import Ordering, fmpq, fmpq_mpoly_ctx

from derive.language.errors import RuleError
from derive.language.scope import canonical, depends
from derive.language.term import (
    Add,
    Apply,
    Density,
    Exp,
    Expect,
    Grad,
    Log,
    Mul,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    Stop,
    Symbol,
    Term,
    parts,
    rebuild,
)

Poly = Any  # flint.fmpq_mpoly has no stubs
Ratio = tuple[Poly, Poly]
Monomial = tuple[Fraction, tuple[tuple[Term, int], ...]]

ZERO, ONE = Number(Fraction(0)), Number(Fraction(1))
_ORDER = (Symbol, RandomVariable, Density, Exp, Log, Apply, Score, Stop, Grad, Over, Expect)


def equal(left: Term, right: Term) -> bool:
    """Whether two terms are the same rational function of their atoms, wherever the denominators are not zero.

    >>> from derive.notation import constant
    >>> x, y = constant("x"), constant("y")
    >>> equal((x**2 - y**2) / (x - y), x + y), equal(x / y, y / x)
    (True, False)
    """
    return left == right or tidy(left - right) == ZERO


@lru_cache(maxsize=65536)
def tidy(term: Term) -> Term:
    """Return the normal form: an expanded sum of products over factored denominators, atoms in a fixed order."""
    return sum_of(monomials(term))


@lru_cache(maxsize=65536)
def monomials(term: Term) -> tuple[Monomial, ...]:
    """Return the normal form as coefficients and atoms with exponents; a denominator is an atom with a negative exponent.

    >>> from derive.notation import constant
    >>> x = constant("x")
    >>> monomials((x + 1) * 2 - 2)
    ((Fraction(2, 1), ((Symbol(name='x'), 1),)),)
    """
    atoms = _atoms(term)
    keys = sorted(atoms, key=_rank)
    context = fmpq_mpoly_ctx.get([f"x{i}" for i in range(len(keys))] or ["x"], Ordering.lex)
    generators = dict(zip(keys, context.gens(), strict=False))
    top, bottom = _reduced(*_ratio(term, generators, context))
    shown = [atoms[key] for key in keys]
    return tuple(monomial for part in _apart(top, bottom, context) for monomial in _expanded(*part, shown))


def _apart(top: Poly, bottom: Poly, context: Any) -> list[Ratio]:
    """Split a ratio by the powers of the atoms that its denominator does not hold, and reduce each part by itself.

    Then (x f + y f + x g) / (x + y) is f + x g / (x + y), however it was written.
    """
    held = [degree > 0 for degree in bottom.degrees()]
    if not any(held):
        return [(top, bottom)]
    groups: dict[tuple[int, ...], dict[tuple[int, ...], Any]] = {}
    for exponents, value in top.terms():
        outside = tuple(0 if inside else exponent for exponent, inside in zip(exponents, held, strict=True))
        groups.setdefault(outside, {})[exponents] = value
    return [_reduced(context.from_dict(group), bottom) for group in groups.values()]


def _expanded(top: Poly, bottom: Poly, shown: list[Term]) -> list[Monomial]:
    content, below = _factors(bottom, shown)
    return [(_fraction(value) / content, _powers(exponents, shown) + below) for exponents, value in top.terms()]


def sum_of(terms: tuple[Monomial, ...]) -> Term:
    """Return the term with these monomials."""
    products = [product_of(coefficient, factors) for coefficient, factors in terms]
    return ZERO if not products else products[0] if len(products) == 1 else Add(tuple(products))


def product_of(coefficient: Fraction, factors: tuple[tuple[Term, int], ...]) -> Term:
    """Return one monomial as a term."""
    powers = tuple(atom if exponent == 1 else Power(atom, exponent) for atom, exponent in factors)
    args = powers if coefficient == 1 and powers else (Number(coefficient), *powers)
    return args[0] if len(args) == 1 else Mul(args)


def derivative(term: Term, parameter: Symbol) -> Term:
    """Differentiate through sums, products, powers, log, exp and the sigmoid; what else depends on the parameter stays `Grad`.

    So does the logarithm of a density, whose gradient is the score.

    >>> from derive.notation import constant, exp
    >>> x = constant("x")
    >>> tidy(derivative(exp(2 * x), x)) == tidy(2 * exp(2 * x))
    True
    """
    if not depends(term, parameter) or isinstance(term, Stop):
        return ZERO
    match term:
        case Symbol():
            return ONE
        case Add(args):
            return Add(tuple(derivative(arg, parameter) for arg in args))
        case Mul(args):
            return Add(tuple(Mul((*args[:i], derivative(arg, parameter), *args[i + 1 :])) for i, arg in enumerate(args)))
        case Power(base, exponent):
            return exponent * Power(base, exponent - 1) * derivative(base, parameter)
        case Log(arg) if not isinstance(arg, Density):
            return Power(arg, -1) * derivative(arg, parameter)
        case Exp(arg):
            return term * derivative(arg, parameter)
        case Sigmoid(arg):
            return term * (1 - term) * derivative(arg, parameter)
    return Grad(term, parameter)


def denominators(term: Term) -> Iterator[Term]:
    """Yield what the term divides by, under binders too."""
    if isinstance(term, Power) and term.exponent < 0:
        yield term.base
    for part in parts(term):
        yield from denominators(part)


def _atoms(term: Term) -> dict[Term, Term]:
    """Map the key of each atom (bound variables numbered, parts in normal form) to the atom as it is printed."""
    match term:
        case Number():
            return {}
        case Add(args) | Mul(args):
            return {key: atom for arg in args for key, atom in _atoms(arg).items()}
        case Power(base, _):
            return _atoms(base)
        case Exp(arg) | Sigmoid(arg):
            return {key: atom for power, _ in _exponentials(arg) for key, atom in _own_atoms(power).items()}
    return {_key(term): _tidy_parts(term)}


def _own_atoms(power: Term) -> dict[Term, Term]:
    return {_key(power): power} if isinstance(power, Exp) else _atoms(power)


@lru_cache(maxsize=65536)
def _key(atom: Term) -> Term:
    return _tidy_parts(canonical(atom))


def _tidy_parts(atom: Term) -> Term:
    """Bring the parts of an atom to normal form; a law stays as it is, since it names its variable."""
    if isinstance(atom, (Expect, Over)):
        return type(atom)(tidy(atom.body), atom.variable)
    if isinstance(atom, (Density, Score)):
        return rebuild(atom, (*atom.law.terms, tidy(atom.at)))
    tidied = rebuild(atom, tuple(tidy(part) for part in parts(atom)))
    if tidied == Log(ZERO):
        message = "a term takes the logarithm of something that is identically zero."
        raise RuleError(message)
    return tidied


@lru_cache(maxsize=65536)
def _exponentials(arg: Term) -> tuple[tuple[Term, int], ...]:
    """Split exp(sum of n/d * m) into powers exp(m/d)**n, so that exp(x + y) is exp(x) * exp(y); exp(log x) is x."""
    split = []
    for coefficient, factors in monomials(arg):
        match coefficient.denominator, factors:
            case 1, ((Log(inner), 1),):
                split.append((inner, coefficient.numerator))
            case denominator, _:
                split.append((Exp(product_of(Fraction(1, denominator), factors)), coefficient.numerator))
    return tuple(split)


def _rank(atom: Term) -> tuple[int, str]:
    return _ORDER.index(type(atom)), repr(atom)


def _ratio(term: Term, generators: dict[Term, Poly], context: Any) -> Ratio:
    """Return numerator and denominator of a term as polynomials in the generators."""
    one = context.constant(1)
    match term:
        case Number(value):
            return context.constant(fmpq(value.numerator, value.denominator)), one
        case Add(args):
            return _sum([_ratio(arg, generators, context) for arg in args], context)
        case Mul(args):
            return _product([_ratio(arg, generators, context) for arg in args], one)
        case Power(base, exponent):
            return _power(_ratio(base, generators, context), exponent)
        case Exp(arg):
            return _product([_power(_exponential(e, generators, context), n) for e, n in _exponentials(arg)], one)
        case Sigmoid(arg):
            top, bottom = _ratio(Exp(arg), generators, context)
            return top, top + bottom
    return generators[_key(term)], one


def _exponential(power: Term, generators: dict[Term, Poly], context: Any) -> Ratio:
    return (generators[_key(power)], context.constant(1)) if isinstance(power, Exp) else _ratio(power, generators, context)


def _sum(ratios: list[Ratio], context: Any) -> Ratio:
    top, bottom = context.constant(0), context.constant(1)
    for numerator, denominator in ratios:
        if denominator == bottom:
            top = top + numerator
        else:
            top, bottom = _reduced(top * denominator + numerator * bottom, bottom * denominator)
    return top, bottom


def _product(ratios: list[Ratio], one: Poly) -> Ratio:
    top, bottom = one, one
    for numerator, denominator in ratios:
        top, bottom = top * numerator, bottom * denominator
    return top, bottom


def _power(ratio: Ratio, exponent: int) -> Ratio:
    top, bottom = ratio
    if exponent < 0:
        top, bottom = bottom, top
    if bottom.is_zero():
        message = "a term divides by something that is identically zero."
        raise RuleError(message)
    return top ** abs(exponent), bottom ** abs(exponent)


def _reduced(top: Poly, bottom: Poly) -> Ratio:
    """Cancel the common factor and make the denominator's leading coefficient 1: the normal form of a ratio."""
    common = top.gcd(bottom)
    top, bottom = top / common, bottom / common
    unit = bottom.leading_coefficient()
    return top / unit, bottom / unit


def _factors(bottom: Poly, atoms: list[Term]) -> tuple[Fraction, tuple[tuple[Term, int], ...]]:
    """Return the rational content of a denominator, and its factors as atoms with negative exponents."""
    content, factors = bottom.factor()
    return _fraction(content), tuple((_polynomial(base, atoms), -int(exponent)) for base, exponent in factors)


def _polynomial(poly: Poly, atoms: list[Term]) -> Term:
    return sum_of(tuple((_fraction(coefficient), _powers(exponents, atoms)) for exponents, coefficient in poly.terms()))


def _powers(exponents: tuple[int, ...], atoms: list[Term]) -> tuple[tuple[Term, int], ...]:
    return tuple((atom, int(exponent)) for atom, exponent in zip(atoms, exponents, strict=False) if exponent)


def _fraction(value: Any) -> Fraction:
    return Fraction(int(value.p), int(value.q))
