"""The formula of an estimator that is stated for S samples, with all of them in one tensor, side by side."""

from __future__ import annotations

from fractions import Fraction

from derive.language.estimator import Estimator
from derive.language.scope import free, substitute
from derive.language.term import (
    Add,
    Apply,
    Density,
    Exp,
    Function,
    Log,
    Mul,
    Number,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    Sign,
    Symbol,
    Term,
    lift,
    parts,
    rebuild,
)
from derive.samples.statistic import Sample, Sampled, SampleMean
from numeric.codegen.expressions import Code, Level, Shape, checked_identifier, number, plus, times
from numeric.codegen.walk import Walk


def side_by_side(walk: Walk) -> Code | None:
    """The formula with the samples in the first dimension of one tensor; None where they have to be told apart.

    >>> from derive.catalogue import catalogue
    >>> from numeric.codegen.torchgen import emit
    >>> print(emit(catalogue["dr-grpo"]).splitlines()[-1].strip())
    return ((r_b - r_b.sum(0) / 3)[..., None] * score_b).mean(0)
    """
    estimator, family, count = walk.estimator, walk.estimator.family, len(walk.estimator.draws)
    if not isinstance(family, Sampled) or walk.several or count == 1:
        return None
    if not (_is_alike(family.formula, None) and _is_written_out(estimator, family)):
        return None
    listed = ", ".join(map(walk.write.names.of, estimator.draws))
    stack = walk.write.assign(checked_identifier(family.each.variable.name), f"torch.stack(({listed}))")
    return _Stacked(walk, stack, family.each.number, count).value(family.formula)


def _is_written_out(estimator: Estimator, family: Sampled) -> bool:
    """Whether an estimator is what its family says; `replace` may have given it another formula."""
    same = family(len(estimator.draws))
    return same.formula == estimator.formula and same.draws == estimator.draws


def _is_alike(term: Term, own: Sample | None) -> bool:
    """Whether a term is computed for each sample as for the others, and of no more than one of them at once."""
    match term:
        case SampleMean(body, variable, without):
            return without in {(), (own,)} and _is_about(body, variable) and _is_alike(body, variable)
        case Add() | Mul() | Power():
            return all(_is_alike(part, own) for part in parts(term))
        case Density(_, at) | Score(_, at, _):
            return at == own
        case Apply(function, args):
            return type(function) is Function and all(arg == own or isinstance(arg, Symbol) for arg in args)
        case Log() | Exp() | Sigmoid() | Sign():
            return all(_is_alike(part, own) for part in parts(term))
    return isinstance(term, (Number, Symbol))


def _is_about(term: Term, variable: Sample) -> bool:
    """Whether the value of a term has an entry for each sample."""
    match term:
        case SampleMean(_, _, without):
            return variable in without
        case Add() | Mul() | Power():
            return any(_is_about(part, variable) for part in parts(term))
    return variable in free(term)


class _Stacked:
    """The values of terms with means over the samples, which are the first dimension of the tensor `stack`."""

    def __init__(self, walk: Walk, stack: str, number_of_samples: Symbol, count: int) -> None:
        self._walk, self._stack, self._count = walk, stack, count
        self._values: dict[Symbol | RandomVariable, Term] = {number_of_samples: lift(count)}

    def value(self, term: Term) -> Code:
        return self._walk.value(self._without_means(term))

    def _without_means(self, term: Term) -> Term:
        """The term with what stands for the value of each mean in the place of it."""
        match term:
            case SampleMean(body, variable, without):
                self._walk.bound[variable] = self._stack
                stands = Apply(Function(f"mean {len(self._walk.given)}"), ())
                self._walk.given[stands] = self._mean(self.value(body), without=bool(without))
                return stands
            case Add() | Mul() | Power():
                return rebuild(term, tuple(map(self._without_means, parts(term))))
        return substitute(term, self._values)

    def _mean(self, code: Code, *, without: bool) -> Code:
        """The mean over all samples, or for each of them that over the others; a sum divided takes whole numbers too."""
        if without:
            each = Code(self._walk.write.assign("each", code.text), code.shape)
            others = plus([Code(f"{each.text}.sum(0)", code.shape), times([number(Fraction(-1)), each])])
            return times([others], [number(Fraction(self._count - 1))] if self._count > 2 else [])
        if code.shape is Shape.COORDINATE:
            return Code(f"{code.at(Level.ATOM)}.mean(0)", code.shape)
        return times([Code(f"{code.at(Level.ATOM)}.sum(0)", code.shape)], [number(Fraction(self._count))])
