"""Scalar algebra, decided by FLINT polynomials: the only file that brings terms to a normal form or differentiates them.

A term is a rational function, with rational coefficients, of its atoms: symbols, densities, scores, functions, expectations and
gradients. Two terms are equal when the difference of the two rational functions is the zero polynomial. That holds wherever the
denominators are not zero and logarithms are of what is positive; `denominators` and `logarithms` list both, and the kernel
makes premises of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import compress
from math import comb
from typing import Any

from flint import Ordering, fmpq, fmpq_mpoly_ctx, fmpz

from derive.kernel.signs import positive
from derive.language.errors import RuleError, TooLong
from derive.language.scope import canonical, moves
from derive.language.term import (
    Add,
    Apply,
    Density,
    Entry,
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
    Sign,
    Stop,
    Symbol,
    Term,
    parts,
    rebuild,
)
from derive.sharing import rank, remembered

Poly = Any  # flint.fmpq_mpoly has no stubs
Ratio = tuple[Poly, Poly]
Factors = tuple[tuple[Term, int], ...]
Monomial = tuple[Fraction, Factors]

ZERO, ONE = Number(Fraction(0)), Number(Fraction(1))
MOST_POWERS, MOST_PRODUCTS, MOST_CROSSED, MOST_WRITTEN, MOST_FACTORS = 500, 100_000, 1_000_000, 10_000, 2**31
_ORDER = (Symbol, RandomVariable, Density, Exp, Log, Sign, Apply, Entry, Score, Stop, Grad, Over, Expect)


def equal(left: Term, right: Term) -> bool:
    """Whether two terms are the same rational function of their atoms, wherever the denominators are not zero.

    >>> from derive.notation import constant
    >>> x, y = constant("x"), constant("y")
    >>> equal((x**2 - y**2) / (x - y), x + y), equal(x / y, y / x)
    (True, False)
    """
    return left == right or _lowest(left - right)[0].is_zero()


def split_logarithms(term: Term) -> Term:
    """Return the term with the logarithm of every product, quotient and power split: it holds where all factors are positive.

    >>> from derive.notation import constant, log
    >>> x, y = constant("x"), constant("y")
    >>> equal(split_logarithms(log(x**2 / y)), 2 * log(x) - log(y)), equal(log(x**2 / y), 2 * log(x) - log(y))
    (True, False)
    """
    new = tuple(split_logarithms(part) for part in parts(term))
    if isinstance(term, (Expect, Over)):
        return type(term)(new[-1], term.variable)
    factors = _log_factors(new[0]) if isinstance(term, Log) else None
    return rebuild(term, new) if factors is None else _sum_of_logarithms(factors)


@remembered
def tidy(term: Term) -> Term:
    """Return the normal form: an expanded sum of products over factored denominators, atoms in a fixed order."""
    found = monomials(term)
    tidied = sum_of(found)
    vars(tidied).setdefault("_monomials", found)  # that a normal form is its own is tested, and saves reading it again
    return tidied


@remembered
def monomials(term: Term) -> tuple[Monomial, ...]:
    """Return the normal form as coefficients and atoms with exponents; a denominator is an atom with a negative exponent.

    >>> from derive.notation import constant
    >>> x = constant("x")
    >>> monomials((x + 1) * 2 - 2)
    ((Fraction(2, 1), ((Symbol(name='x'), 1),)),)
    """
    atoms = _atoms(term)
    top, bottom, keys, context = _lowest(term)
    shown = [atoms[key] for key in keys]
    return tuple(monomial for part in _apart(top, bottom, context) for monomial in _expanded(*part, shown))


@remembered
def _lowest(term: Term) -> tuple[Poly, Poly, tuple[Term, ...], Any]:
    """Return numerator and denominator in lowest terms, the keys of their atoms, and the context of both."""
    keys = tuple(sorted(_atoms(term), key=_rank))
    generators, context = _ring(keys)
    top, bottom = _reduced(*_ratio(term, generators, context))
    return *_reduced(_with_signs(top, generators, context), bottom), keys, context


@lru_cache(maxsize=1024)
def _ring(keys: tuple[Term, ...]) -> tuple[dict[Term, Poly], Any]:
    """Return the generators of the polynomials in these atoms, and their context."""
    context = fmpq_mpoly_ctx.get([f"x{i}" for i in range(len(keys))] or ["x"], Ordering.lex)
    return dict(zip(keys, context.gens(), strict=False)), context


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
    if len(bottom) > 1:
        _refuse_large(len(top) * len(bottom), MOST_WRITTEN)
    content, below = _factors(bottom, shown)
    return [(_fraction(value / content), _powers(exponents, shown) + below) for exponents, value in top.terms()]


def sum_of(terms: tuple[Monomial, ...]) -> Term:
    """Return the term with these monomials."""
    products = [product_of(coefficient, factors) for coefficient, factors in terms]
    return ZERO if not products else products[0] if len(products) == 1 else Add(tuple(products))


def added(terms: Sequence[Term]) -> Term:
    """Return the sum of terms as `+` builds it, without the sums on the way."""
    if len(terms) < 2:
        return terms[0] if terms else ZERO
    return Add(tuple(arg for term in terms for arg in (term.args if isinstance(term, Add) else (term,))))


def product_of(coefficient: Fraction, factors: Factors, *others: Term) -> Term:
    """Return one monomial as a term, times others."""
    powers = [atom if exponent == 1 else Power(atom, exponent) for atom, exponent in factors]
    args = (*(powers if powers and coefficient == 1 else [Number(coefficient), *powers]), *others)
    return args[0] if len(args) == 1 else Mul(args)


@lru_cache(maxsize=4096)
def derivative(term: Term, parameter: Symbol) -> Term:
    """Differentiate through sums, products, powers, log, exp and the sigmoid; what else depends on the parameter stays `Grad`.

    So does the logarithm of a density, whose gradient is the score.

    >>> from derive.notation import constant, exp
    >>> x = constant("x")
    >>> tidy(derivative(exp(2 * x), x)) == tidy(2 * exp(2 * x))
    True
    """
    if not moves(term, parameter):
        return ZERO
    match term:
        case Symbol():
            return ONE
        case Add(args):
            return Add(tuple(derivative(arg, parameter) for arg in args))
        case Mul(args):
            return Add(tuple(Mul((*args[:i], derivative(arg, parameter), *args[i + 1 :])) for i, arg in enumerate(args)))
        case Power(base, exponent):
            return exponent * Power(base, exponent - 1) * derivative(base, parameter) if exponent else ZERO
        case Log(arg) if not isinstance(arg, Density):
            return Power(arg, -1) * derivative(arg, parameter)
        case Exp(arg):
            return term * derivative(arg, parameter)
        case Sigmoid(arg):
            return term * (1 - term) * derivative(arg, parameter)
        case Sign():
            return ZERO
    return Grad(term, parameter)


@remembered
def denominators(term: Term) -> tuple[Term, ...]:
    """Return what the term divides by, under binders too, each once."""
    own = (term.base,) if isinstance(term, Power) and term.exponent < 0 else ()
    return tuple(dict.fromkeys((*own, *(found for part in parts(term) for found in denominators(part)))))


@remembered
def logarithms(term: Term) -> tuple[Term, ...]:
    """Return what must be positive for the normal form: what exp(log x) is, what a logarithm splits into, what has no sign."""
    return tuple(dict.fromkeys((*_own_logarithms(term), *(found for part in parts(term) for found in logarithms(part)))))


def _own_logarithms(term: Term) -> Iterator[Term]:
    if isinstance(term, (Exp, Sigmoid)):
        yield from (power for power, _ in _exponentials(term.arg) if not isinstance(power, Exp))
    if isinstance(term, Log) and _logarithm(term.arg) is not None:
        split, kept = _positive_factors(_log_factors(term.arg) or ())
        yield from (base for base, _ in split)
        yield from (product_of(Fraction(1), kept),) if kept else ()
    if isinstance(term, Sign):
        yield from _unsigned(term.arg)


def factors_of_logarithms(term: Term) -> Iterator[Term]:
    """Yield what must be positive for `split_logarithms`."""
    if isinstance(term, Log):
        yield from (base for base, _ in _log_factors(term.arg) or ())
    for part in parts(term):
        yield from factors_of_logarithms(part)


@remembered
def _atoms(term: Term) -> dict[Term, Term]:
    """Map the key of each atom (bound variables numbered, parts in normal form) to the atom as it is printed."""
    match term:
        case Number():
            return {}
        case Add(args) | Mul(args):
            found: dict[Term, Term] = {}
            for arg in args:
                found |= _atoms(arg)
            return found
        case Power(base, _):
            return _atoms(base)
        case Exp(arg) | Sigmoid(arg):
            return {key: atom for power, _ in _exponentials(arg) for key, atom in _own_atoms(power).items()}
        case Log(arg) if (expansion := _logarithm(arg)) is not None:
            return _atoms(expansion)
        case Sign(arg):
            return {_key(sign): sign for sign, _ in _signs(arg)[1]}
    return {_key(term): _tidy_parts(term)}


def _own_atoms(power: Term) -> dict[Term, Term]:
    return {_key(power): power} if isinstance(power, Exp) else _atoms(power)


@lru_cache(maxsize=4096)
def _key(atom: Term) -> Term:
    """Return the atom with parts in normal form and bound variables numbered, again where a binder inside it has vanished."""
    key = _tidy_parts(canonical(atom))
    numbered = canonical(key)
    return key if numbered == key else _key(numbered)


def _tidy_parts(atom: Term) -> Term:
    """Bring the parts of an atom to normal form; a law stays as it is, since it names its variable."""
    if isinstance(atom, (Expect, Over)):
        return type(atom)(tidy(atom.body), atom.variable)
    if isinstance(atom, (Density, Score)):
        return rebuild(atom, (*atom.law.terms, tidy(atom.at)))
    tidied = rebuild(atom, tuple(tidy(part) for part in parts(atom)))
    if isinstance(tidied, Log) and isinstance(tidied.arg, Number) and tidied.arg.value <= 0:
        message = f"a term takes the logarithm of something that is identically {tidied.arg.value or 'zero'}."
        raise RuleError(message)
    return tidied


@lru_cache(maxsize=4096)
def _exponentials(arg: Term) -> Factors:
    """Split exp(sum of n/d * m) into powers exp(m/d)**n, so that exp(x + y) is exp(x) * exp(y); exp(log x) is x."""
    split = []
    for coefficient, factors in monomials(arg):
        match coefficient.denominator, factors:
            case 1, ((Log(inner), 1),):
                split.append((inner, coefficient.numerator))
            case denominator, _:
                split.append((Exp(product_of(Fraction(1, denominator), factors)), coefficient.numerator))
    return tuple(split)


@lru_cache(maxsize=4096)
def _logarithm(arg: Term) -> Term | None:
    """Split log(a b) into log a + log b where a is positive by its shape, and log(exp x) is x; None where nothing splits."""
    factors = _log_factors(arg)
    if factors is None:
        return None
    split, kept = _positive_factors(factors)
    lone = len(factors) == 1 and factors[0][1] == 1 and not isinstance(factors[0][0], Exp)
    if lone or (kept and not split):
        return None
    return _sum_of_logarithms(split) + (Log(product_of(Fraction(1), kept)) if kept else ZERO)


def _log_factors(arg: Term) -> Factors | None:
    """Return the factors of a term, those of its positive coefficient too; None where it is a sum, or has a sign."""
    split = monomials(arg)
    if len(split) != 1 or split[0][0] <= 0:
        return None
    coefficient, factors = split[0]
    return (*_primes(coefficient.numerator, 1), *_primes(coefficient.denominator, -1), *factors)


def _primes(number: int, sign: int) -> Factors:
    """Return the prime factors of a positive integer, or a large one as it is."""
    found = fmpz(number).factor() if number < 2**64 else [(number, 1)]
    return tuple((Number(Fraction(int(prime))), sign * int(times)) for prime, times in found)


def _positive_factors(factors: Factors) -> tuple[Factors, Factors]:
    """Return the factors that are positive by their shape, and the others."""
    kept = tuple(factor for factor in factors if not positive(factor[0]))
    return tuple(factor for factor in factors if factor not in kept), kept


def _sum_of_logarithms(factors: Factors) -> Term:
    logs = (times * (base.arg if isinstance(base, Exp) else Log(base)) for base, times in factors)
    return sum(logs, start=ZERO)


@lru_cache(maxsize=4096)
def _signs(arg: Term) -> tuple[int, Factors]:
    """Split sign(c x y^n) into that of the number c and those of x and y; what is positive by its shape has none.

    A sum is kept up to a number: sign(-2 x - 2 y) is -sign(x + y). That of an even power of x is sign(x)^2, and not 1,
    since x may be zero.
    """
    split = monomials(arg)
    if not split:
        return 0, ()
    number = 1 if split[0][0] > 0 else -1
    if len(split) > 1:
        size = number * abs(next(coefficient for coefficient, factors in split if factors))
        whole = sum_of(tuple((coefficient / size, factors) for coefficient, factors in split))
        return number, () if positive(whole) else ((Sign(whole), 1),)
    signs: list[tuple[Term, int]] = []
    for base, exponent in split[0][1]:
        if not positive(base):
            own, inner = _signs(base) if isinstance(base, Add) else (1, ((base if isinstance(base, Sign) else Sign(base), 1),))
            number *= own if exponent % 2 else 1
            signs += [(sign, n * (2 - exponent % 2)) for sign, n in inner]
    return number, tuple(signs)


def _unsigned(arg: Term) -> Iterator[Term]:
    """Yield what is positive by its shape, so that a sign was left out."""
    split = monomials(arg)
    yield from (whole for whole in (sum_of(split), sum_of(tuple((-c, factors) for c, factors in split))) if positive(whole))
    yield from (base for _, factors in split for base, _ in factors if len(split) == 1 and positive(base))


def _with_signs(top: Poly, generators: dict[Term, Poly], context: Any) -> Poly:
    """Use sign(x)^3 = sign(x), and x sign(x)^2 = x, which is |x|^2 = x^2 too; both hold where x is zero."""
    for index, key in enumerate(generators):
        if isinstance(key, Sign) and top.degrees()[index] > 1:
            none, odd, even = _by_powers(top, index, context)
            known = _atoms(key.arg).keys() <= generators.keys()
            x = _ratio(key.arg, generators, context)[0] if known else context.constant(0)
            if not x.is_zero() and not divmod(even, x)[1]:
                none, even = none + even, context.constant(0)
            top = none + generators[key] * odd + generators[key] ** 2 * even
    return top


def _by_powers(poly: Poly, index: int, context: Any) -> tuple[Poly, Poly, Poly]:
    """Return the coefficients of 1, s and s^2, where s^3 is s."""
    parts: tuple[dict[tuple[int, ...], Any], ...] = {}, {}, {}
    for exponents, value in poly.terms():
        power = exponents[index]
        rest = (*exponents[:index], 0, *exponents[index + 1 :])
        group = parts[power if power < 1 else 2 - power % 2]
        group[rest] = group.get(rest, 0) + value
    none, odd, even = (context.from_dict(part) for part in parts)
    return none, odd, even


@lru_cache(maxsize=4096)
def _rank(atom: Term) -> tuple[int, str]:
    return _ORDER.index(type(atom)), rank(atom)


def _ratio(term: Term, generators: dict[Term, Poly], context: Any) -> Ratio:
    """Return numerator and denominator of a term as polynomials in the generators; a node keeps those of the last ones."""
    known = vars(term).get("_ratio")
    if known is None or known[0] is not generators:
        known = vars(term)["_ratio"] = generators, _read_ratio(term, generators, context)
    return known[1]


def _read_ratio(term: Term, generators: dict[Term, Poly], context: Any) -> Ratio:
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
        case Log(arg) if (expansion := _logarithm(arg)) is not None:
            return _ratio(expansion, generators, context)
        case Sign(arg):
            number, signs = _signs(arg)
            return _product([(context.constant(number), one), *((generators[_key(sign)] ** n, one) for sign, n in signs)], one)
    return generators[_key(term)], one


def _exponential(power: Term, generators: dict[Term, Poly], context: Any) -> Ratio:
    return (generators[_key(power)], context.constant(1)) if isinstance(power, Exp) else _ratio(power, generators, context)


def _sum(ratios: list[Ratio], context: Any) -> Ratio:
    one = context.constant(1)
    whole = [numerator for numerator, denominator in ratios if denominator == one]
    top, bottom = _added_in_pairs(whole, context), one
    for numerator, denominator in ratios:
        if denominator == one:
            continue
        if denominator == bottom:
            top = top + numerator
        else:
            products = (len(top) * len(denominator), len(numerator) * len(bottom), len(bottom) * len(denominator))
            _refuse_large(max(products), MOST_CROSSED)
            top, bottom = _reduced(top * denominator + numerator * bottom, bottom * denominator)
    return top, bottom


def _added_in_pairs(polys: list[Poly], context: Any) -> Poly:
    """Add in pairs of similar length: one growing sum would be copied for each summand."""
    while len(polys) > 1:
        polys = [polys[i] + polys[i + 1] if i + 1 < len(polys) else polys[i] for i in range(0, len(polys), 2)]
    return polys[0] if polys else context.constant(0)


def _product(ratios: list[Ratio], one: Poly) -> Ratio:
    top, bottom = one, one
    for numerator, denominator in ratios:
        _refuse_large(max(len(top) * len(numerator), len(bottom) * len(denominator)), MOST_PRODUCTS)
        top, bottom = _times(top, numerator, one), _times(bottom, denominator, one)
    return top, bottom


def _times(left: Poly, right: Poly, one: Poly) -> Poly:
    """Multiply, unless one of both is 1, as most denominators are: FLINT takes twenty times as long for that."""
    return left if right == one else right if left == one else left * right


def _power(ratio: Ratio, exponent: int) -> Ratio:
    top, bottom = ratio
    if exponent < 0:
        top, bottom = bottom, top
    if bottom.is_zero():
        message = "a term divides by something that is identically zero."
        raise RuleError(message)
    _refuse_large(max(_expansion(poly, abs(exponent)) for poly in (top, bottom)), MOST_POWERS)
    _refuse_large(abs(exponent) * max((0, *top.degrees(), *bottom.degrees())), MOST_FACTORS)  # FLINT counts them in a word
    return top ** abs(exponent), bottom ** abs(exponent)


def _expansion(poly: Poly, exponent: int) -> int:
    """Return how many terms the power of a sum may have, of a number how many digits."""
    if len(poly) > 1:
        return comb(len(poly) + exponent - 1, exponent)
    return exponent // 32 if any(abs(value.p) != 1 or value.q != 1 for value in poly.coeffs()) else 1


def _refuse_large(terms: int, most: int) -> None:
    """Refuse to expand before anything is multiplied."""
    if terms > most:
        message = f"an expansion of up to {terms} terms, digits or factors is more than the {most} that are feasible."
        raise TooLong(message)


def _reduced(top: Poly, bottom: Poly) -> Ratio:
    """Cancel the common factor and make the denominator's leading coefficient 1: the normal form of a ratio."""
    _refuse_large(max(len(top), len(bottom)), MOST_PRODUCTS)
    common = top.gcd(bottom)
    top, bottom = top / common, bottom / common
    unit = bottom.leading_coefficient()
    return top / unit, bottom / unit


def _factors(bottom: Poly, atoms: list[Term]) -> tuple[Any, Factors]:
    """Return the rational content of a denominator, and its factors as atoms with negative exponents."""
    content, factors = bottom.factor()
    return content, tuple((_polynomial(base, atoms), -int(exponent)) for base, exponent in factors)


def _polynomial(poly: Poly, atoms: list[Term]) -> Term:
    return sum_of(tuple((_fraction(coefficient), _powers(exponents, atoms)) for exponents, coefficient in poly.terms()))


def _powers(exponents: tuple[int, ...], atoms: list[Term]) -> Factors:
    return tuple((atoms[i], int(exponents[i])) for i in compress(range(len(atoms)), exponents))


def _fraction(value: Any) -> Fraction:
    return Fraction(int(value.p), int(value.q))
