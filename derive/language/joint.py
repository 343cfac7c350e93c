"""Joint laws as variables one after the other: a normal vector, and proportions that sum to one.

No law is added: the density of a joint law is the product of those of its draws, and its score the sum of their scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from derive.language.errors import UsageError
from derive.language.expected import a_parameter
from derive.language.named import beta
from derive.language.notation import normal, score, total
from derive.language.scope import depends
from derive.language.term import Exact, Number, RandomVariable, Symbol, Term, lift

FEWEST = 2


def multivariate_normal(name: str, *, mean: Sequence[Exact], cholesky: Sequence[Sequence[Exact]]) -> tuple[RandomVariable, ...]:
    """Normal variables name_1, name_2, ... of which together the mean is `mean` and the covariance L L^T, L = `cholesky`.

    By the chain rule of probability: given those before it, z_i is normal with the mean m_i + l_i1 e_1 + ... + l_i(i-1) e_(i-1)
    and the standard deviation l_ii, where e_j = (z_j - E[z_j | z_1, ..., z_(j-1)]) / l_jj is z_j without its mean and scale.
    The expectation is E(f(z_1, z_2), z_1, z_2), in this order; the score is the sum of score(z_i, theta).

    Args
        mean      n numbers or terms
        cholesky  the rows of a lower triangular matrix, the i-th of i numbers or terms: ((l_11,), (l_21, l_22), ...); what
                  stands on the diagonal is positive

    Raises
        UsageError, if there is no component, a row has another length, or a number on the diagonal is not positive.
    Source
        the chain rule of probability, of z = mean + L e with independent standard normal e; L is the scale_tril of
        torch.distributions.MultivariateNormal

    >>> from derive.language.notation import constant
    >>> c = constant("c")
    >>> first, second = multivariate_normal("z", mean=(0, c), cholesky=((1,), (c, 2)))
    >>> print(first.law, second.law, sep="; ")
    Normal(.; 0, 1); Normal(.; c + c * z_1, 4)
    """
    rows = [tuple(row) for row in cholesky]
    lengths, expected = [len(row) for row in rows], list(range(1, len(mean) + 1))
    if not rows or lengths != expected:
        message = (
            f"the factor of a normal law of {len(mean)} components is lower triangular, with rows of the lengths"
            f" {expected or [1]}; got {lengths}. Give ((l_11,), (l_21, l_22), ...), without the zeros above the diagonal."
        )
        raise UsageError(message)
    drawn: list[RandomVariable] = []
    standard: list[Term] = []
    for i, (middle, row) in enumerate(zip(mean, rows, strict=True)):
        entries = [(entry, e) for entry, e in zip(row[:-1], standard, strict=True) if not _is(entry, 0)]
        shifts = [e if _is(entry, 1) else entry * e for entry, e in entries]
        loc = reduce(add, shifts) if shifts and _is(middle, 0) else reduce(add, shifts, lift(middle))
        drawn.append(normal(f"{name}_{i + 1}", loc, row[-1]))
        off = drawn[-1] if _is(loc, 0) else drawn[-1] - loc
        standard.append(off / row[-1])
    return tuple(drawn)


@dataclass(frozen=True)
class Dirichlet:
    """Proportions that sum to one.

    Args
        draws        v_1, ..., v_(K-1): independent beta variables, over which the expectation is taken
        coordinates  x_1, ..., x_K as terms of them: x_k = v_k (1 - v_1) ... (1 - v_(k-1)), and what is left
    """

    draws: tuple[RandomVariable, ...]
    coordinates: tuple[Term, ...]

    def score(self, parameter: Symbol) -> Term:
        """The score d/dparameter log p(x_1, ..., x_K): the sum of those of the draws, as the Jacobian does not move.

        A draw whose law does not move has none.

        Raises
            NotATerm, if it is no parameter.
        """
        by = a_parameter(parameter, "score(theta)")
        moving = [draw for draw in self.draws if any(depends(term, by) for term in draw.law.terms)]
        return total([score(draw, by) for draw in moving] or [lift(0)])


def dirichlet(name: str, *, concentration: Sequence[Exact]) -> Dirichlet:
    """Proportions with the density x_1^(a_1 - 1) ... x_K^(a_K - 1) Gamma(a_1 + ... + a_K) / (Gamma(a_1) ... Gamma(a_K)).

    By breaking a stick: v_k is a beta variable of a_k and a_(k+1) + ... + a_K, the share of the k-th piece in what is left.
    So in torch.distributions.Dirichlet and scipy.stats.dirichlet, which have all K coordinates as one draw.

    Args
        concentration  a_1, ..., a_K, two or more positive numbers or terms

    Raises
        UsageError, if there are fewer than two, or a number is not positive.
    Source
        complete neutrality: of what is left, the shares of a Dirichlet law are independent beta variables (Connor and
        Mosimann 1969)

    >>> x = dirichlet("x", concentration=(1, 2, 3))
    >>> print(*(draw.law for draw in x.draws), *x.coordinates, sep="; ")
    Beta(.; 1, 5); Beta(.; 2, 3); x_1; (1 - x_1) * x_2; (1 - x_1) * (1 - x_2)
    """
    if len(concentration) < FEWEST:
        message = (
            "a Dirichlet law has two or more concentrations, as dirichlet('x', concentration=(1, 2)); got"
            f" {len(concentration)}."
        )
        raise UsageError(message)
    draws: list[RandomVariable] = []
    coordinates: list[Term] = []
    left = lift(1)
    for i, own in enumerate(concentration[:-1]):
        drawn = beta(f"{name}_{i + 1}", a=own, b=_sum(concentration[i + 1 :]))
        coordinates.append(left * drawn if draws else drawn)
        left = left * (1 - drawn) if draws else 1 - drawn
        draws.append(drawn)
    return Dirichlet(tuple(draws), (*coordinates, left))


def _sum(values: Sequence[Exact]) -> Term:
    """A sum, in which numbers are added."""
    terms = [lift(value) for value in values]
    number = sum(term.value for term in terms if isinstance(term, Number))
    others = [term for term in terms if not isinstance(term, Number)]
    return total([*others, *([lift(number)] if number or not others else [])])


def _is(value: Exact, number: int) -> bool:
    term = lift(value)
    return isinstance(term, Number) and term.value == number
