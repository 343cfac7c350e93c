"""Pathwise against score function for a normal law and a polynomial f, as quadratic forms in the Hermite coefficients of f.

For z ~ Normal(mu, sigma) and e = (z - mu) / sigma, f(z) = sum of a_n He_n(e), and E[He_m He_n] = n! if m = n, else 0. Both
estimators, times sigma, are again such sums: a variance is sum of m! c_m^2 over m >= 1. All arithmetic is in fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import factorial

from derive.estimator import Estimator
from derive.exact import comparison as exact
from derive.language.term import RandomVariable, Symbol, Term
from derive.notation import E, constant, grad, normal, parameter, score, stop

Coefficients = list[Fraction]
Matrix = list[list[Fraction]]

MU, SIGMA = parameter("mu"), parameter("sigma")
PARAMETERS = {"mu": MU, "sigma": SIGMA}
Z, EPSILON = normal("z", MU, SIGMA), normal("epsilon")


# Hermite sums: the list [a_0, a_1, ...] stands for sum of a_n He_n(e)


def times_e(a: Sequence[Fraction]) -> Coefficients:
    """e He_n = He_(n+1) + n He_(n-1).

    >>> times_e([Fraction(0), Fraction(1)])
    [Fraction(1, 1), Fraction(0, 1), Fraction(1, 1)]
    """
    result = [Fraction(0)] * (len(a) + 1)
    for n, value in enumerate(a):
        result[n + 1] += value
        if n:
            result[n - 1] += n * value
    return result


def slope(a: Sequence[Fraction]) -> Coefficients:
    """d He_n / de = n He_(n-1)."""
    return [n * value for n, value in enumerate(a)][1:] or [Fraction(0)]


def inner(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    """The mean of the product."""
    return sum((factorial(n) * x * y for n, (x, y) in enumerate(zip(a, b, strict=False))), Fraction(0))


def covariance(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    return inner([Fraction(0), *a[1:]], b)


def score_times(name: str, a: Sequence[Fraction]) -> Coefficients:
    """Sigma times the score times F: the score is e / sigma for mu, and (e^2 - 1) / sigma for sigma."""
    once = times_e(a)
    if name == "mu":
        return once
    twice = times_e(once)
    return [value - (a[n] if n < len(a) else 0) for n, value in enumerate(twice)]


def pathwise(name: str, a: Sequence[Fraction]) -> Coefficients:
    """Sigma times the pathwise estimate: F'(e) for mu, and e F'(e) for sigma."""
    return slope(a) if name == "mu" else times_e(slope(a))


def baseline(name: str, a: Sequence[Fraction]) -> Fraction:
    """The constant with which the score function has its lowest variance: c = E[F s^2] / E[s^2]."""
    s = score_times(name, [Fraction(1)])
    return inner(score_times(name, a), s) / inner(s, s)


def variances(name: str, a: Sequence[Fraction]) -> tuple[Fraction, Fraction, Fraction]:
    """Sigma^2 times the variance: pathwise, score function, score function with the best constant baseline."""
    path, plain = pathwise(name, a), score_times(name, a)
    best = score_times(name, [a[0] - baseline(name, a), *a[1:]])
    return covariance(path, path), covariance(plain, plain), covariance(best, best)


# The gap: sigma^2 (Var score - Var pathwise) is a quadratic form in a_0, ..., a_d


def unit(n: int) -> Coefficients:
    return [Fraction(int(m == n)) for m in range(n + 1)]


def form(image: Callable[[Sequence[Fraction]], Coefficients], degree: int) -> Matrix:
    """The matrix of the variance of a linear image of F."""
    images = [image(unit(n)) for n in range(degree + 1)]
    return [[covariance(left, right) for right in images] for left in images]


def path_matrix(name: str, degree: int) -> Matrix:
    return form(lambda a: pathwise(name, a), degree)


def score_matrix(name: str, degree: int, *, with_baseline: bool) -> Matrix:
    """The matrix of the score function's variance; the best constant takes away E[F s^2]^2 / E[s^2]."""
    matrix = form(lambda a: score_times(name, a), degree)
    if not with_baseline:
        return matrix
    s = score_times(name, [Fraction(1)])
    linear = [inner(score_times(name, unit(n)), s) for n in range(degree + 1)]
    square = inner(s, s)
    return [[value - linear[i] * linear[j] / square for j, value in enumerate(row)] for i, row in enumerate(matrix)]


def gap_matrix(name: str, degree: int, *, with_baseline: bool) -> Matrix:
    """Var score - Var pathwise, times sigma^2."""
    left, right = score_matrix(name, degree, with_baseline=with_baseline), path_matrix(name, degree)
    return [[x - y for x, y in zip(one, other, strict=True)] for one, other in zip(left, right, strict=True)]


def value(matrix: Matrix, a: Sequence[Fraction]) -> Fraction:
    return sum((x * row[j] * y for x, row in zip(a, matrix, strict=True) for j, y in enumerate(a)), Fraction(0))


@dataclass(frozen=True)
class Pivot:
    """The least gap of f = He_n + lower terms of the same parity, and the f that has it.

    The form is positive definite up to a degree if and only if all pivots up to there are positive (Lagrange, Sylvester).
    """

    degree: int
    least: Fraction
    minimiser: tuple[Fraction, ...]


def pivots(name: str, degree: int, *, with_baseline: bool) -> list[Pivot]:
    """The pivots of the gap, up to the first one of each parity that is not positive.

    >>> [(one.degree, int(one.least)) for one in pivots("mu", 4, with_baseline=False)]
    [(0, 1), (1, 2), (2, 2), (3, 6), (4, -168)]
    """
    matrix = gap_matrix(name, degree, with_baseline=with_baseline)
    start = 1 if with_baseline else 0  # with a baseline a_0 has no effect
    result, open_parities = [], {0, 1}
    for n in range(start, degree + 1):
        if n % 2 not in open_parities:
            continue
        indices = list(range(n % 2 if n % 2 >= start else 2, n, 2))
        lower = solve([[matrix[i][j] for j in indices] for i in indices], [-matrix[i][n] for i in indices])
        a = [Fraction(0)] * (degree + 1)
        a[n] = Fraction(1)
        for i, x in zip(indices, lower, strict=True):
            a[i] = x
        result.append(Pivot(n, value(matrix, a), tuple(a[: n + 1])))
        if result[-1].least <= 0:
            open_parities.discard(n % 2)
    return result


def solve(matrix: Matrix, right: Sequence[Fraction]) -> Coefficients:
    """The solution of a regular system, by elimination in fractions.

    >>> solve([[Fraction(2)]], [Fraction(1)])
    [Fraction(1, 2)]
    """
    rows = [[*row, r] for row, r in zip(matrix, right, strict=True)]
    for k in range(len(rows)):
        swap = next(i for i in range(k, len(rows)) if rows[i][k] != 0)
        rows[k], rows[swap] = rows[swap], rows[k]
        rows[k] = [x / rows[k][k] for x in rows[k]]
        for i in range(len(rows)):
            if i != k:
                rows[i] = [x - rows[i][k] * y for x, y in zip(rows[i], rows[k], strict=True)]
    return [row[-1] for row in rows]


def powers(a: Sequence[Fraction]) -> Coefficients:
    """The same polynomial in powers of e.

    >>> [int(x) for x in powers([Fraction(0), Fraction(0), Fraction(1)])]
    [-1, 0, 1]
    """
    table: list[Coefficients] = [[Fraction(1)], [Fraction(0), Fraction(1)]]
    for n in range(1, len(a)):
        before = [*table[n - 1], Fraction(0), Fraction(0)]
        table.append([x - n * y for x, y in zip([Fraction(0), *table[n]], before, strict=True)])
    result = [Fraction(0)] * len(a)
    for x, row in zip(a, table, strict=False):
        for m, y in enumerate(row):
            result[m] += x * y
    return result


# The same in gradproof: formulas, proved by the exact evaluator for all coefficients, mu and sigma at once


def hermite_sum(coefficients: Sequence[Term | Fraction], at: Term) -> Term:
    """Sum of a_n He_n((at - mu) / sigma) as a formula: a fixed function, so mu and sigma are held."""
    x = (at - stop(MU)) / stop(SIGMA)
    before, current, total = x * 0, x * 0 + 1, x * 0
    for n, coefficient in enumerate(coefficients):
        total = total + coefficient * current
        before, current = current, x * current - n * before
    return total


def estimators(
    name: str, coefficients: Sequence[Term | Fraction], c: Term | Fraction = Fraction(0)
) -> tuple[Estimator, Estimator]:
    """The pathwise and the score function estimator of the derivative of E[f(z)], the second with a baseline."""
    wrt = PARAMETERS[name]
    target = grad(E(hermite_sum(coefficients, Z), Z), wrt)
    path = grad(hermite_sum(coefficients, MU + SIGMA * EPSILON), wrt)
    learned = (hermite_sum(coefficients, Z) - c) * score(Z, wrt)
    return Estimator("pathwise", path, (EPSILON,), target), Estimator("score", learned, (Z,), target)


def symbols(degree: int) -> list[Symbol]:
    return [constant(f"a_{n}") for n in range(degree + 1)]


def as_term(matrix: Matrix, a: Sequence[Symbol]) -> Term:
    entries = [(x, row[j], y) for x, row in zip(a, matrix, strict=True) for j, y in enumerate(a)]
    return sum((number * x * y for x, number, y in entries if number), start=a[0] * 0)


def proved_gap(name: str, degree: int) -> bool:
    """Whether gradproof proves the gap without a baseline for all a_0..a_degree, mu and sigma, and that both are unbiased."""
    a = symbols(degree)
    path, learned = estimators(name, a)
    unbiased = all(exact.check(one, 1).zero for one in (path, learned))
    gap = exact.second_moment(learned) - exact.second_moment(path)
    claimed = as_term(gap_matrix(name, degree, with_baseline=False), a) / SIGMA**2
    return unbiased and exact.identically_equal(gap, claimed, PARAMETERS[name], 1)


def proved_baseline(name: str, degree: int) -> bool:
    """Whether gradproof proves E[s^2] E[(F - c)^2 s^2] = E[s^2] E[F^2 s^2] - E[F s^2]^2 + (c E[s^2] - E[F s^2])^2."""
    a, c = symbols(degree), constant("c")
    return best_constant_identity(hermite_sum(a, Z), score(Z, PARAMETERS[name]), Z, c, PARAMETERS[name], 1)


def best_constant_identity(f: Term, s: Term, variable: RandomVariable, c: Symbol, wrt: Symbol, outcomes: int) -> bool:
    """Whether the identity from which the best constant baseline is read off is proved."""
    square, both = E(s * s, variable), E(f * s * s, variable)
    left = square * E((f - c) * (f - c) * s * s, variable)
    right = square * E(f * f * s * s, variable) - both**2 + (c * square - both) ** 2
    return exact.identically_equal(left, right, wrt, outcomes)
