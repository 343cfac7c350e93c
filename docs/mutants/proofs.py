"""Why a mutant is equivalent: a derivation of its formula, or an identity of exact terms that its code computes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

import torch

import derive
from derive.estimator import Estimator
from derive.kernel.algebra import derivative, tidy
from derive.language.errors import Disagreement, GradproofError, TooLarge
from derive.language.scope import substitute
from derive.language.term import (
    Add,
    Apply,
    Density,
    Grad,
    Log,
    Mul,
    NormalLaw,
    Number,
    RandomVariable,
    Stop,
    Symbol,
    Term,
    Threshold,
    parts,
    rebuild,
)
from docs.mutants import formulas, symbolic
from docs.mutants.checks import MIRRORED, Subject
from docs.mutants.sources import CodeMutant
from numeric.codegen.expressions import Kind
from numeric.codegen.torchgen import generate

HELPER_SHAPES = ((1,), (4,), (2, 3), (2, 1, 3))


def verdict(estimator: Estimator, outcomes: tuple[int, ...] = (2, 3)) -> str:
    """The verdict of `derive.prove`; "refused" where it raises. A disagreement of its readings is never caught.

    >>> from derive.catalogue import catalogue
    >>> verdict(catalogue["score-function"])
    'proved'
    """
    try:
        return derive.prove(estimator, outcomes).verdict
    except Disagreement:
        raise
    except GradproofError:
        return "refused"


# Formulas: lemmas that the kernel does not know


def formula_proof(estimator: Estimator) -> str:
    """How a formula mutant is proved, directly or after one lemma; empty where it is not."""
    if verdict(estimator) == "proved":
        return _ground(estimator)
    for name, formula, target in _rewritten(estimator):
        if formula != estimator.formula:
            changed = replace(estimator, formula=formula, target=target)
            if verdict(changed) == "proved":
                return f"{_ground(changed)}, after {name}"
    return ""


def _ground(estimator: Estimator) -> str:
    found = derive.prove(estimator, (2, 3))
    return "derived" if found.derivation is not None else f"exact: {found.holds_for}"


def _rewritten(estimator: Estimator) -> Iterator[tuple[str, Term, Term]]:
    """A lemma, and formula and target after it."""
    formula, target = estimator.formula, estimator.target
    yield "d H(z) = 0", _everywhere(formula, _without_stop), target
    yield f"d_{estimator.parameter.name} is taken", _everywhere(formula, lambda term: _taken(term, estimator.parameter)), target
    yield "log(c x) = log c + log x", _everywhere(formula, _split_log), _everywhere(target, _split_log)
    for noise in estimator.draws:
        if noise.law == NormalLaw(Number(0), Number(1)):  # type: ignore[arg-type]
            reflected = substitute(formula, {noise: -noise})
            yield f"{noise.name} and -{noise.name} have one law", _everywhere(reflected, _even), target


def _everywhere(term: Term, change: Callable[[Term], Term]) -> Term:
    return change(rebuild(term, tuple(_everywhere(part, change) for part in parts(term))))


def _without_stop(term: Term) -> Term:
    """A threshold has derivative zero: stopped or not, it is the same."""
    match term:
        case Stop(Apply(Threshold(), _) as inner):
            return inner
        case Apply(Threshold() as function, (Stop(inner),)):
            return Apply(function, (inner,))
    return term


def _taken(term: Term, parameter: Symbol) -> Term:
    """What does not depend on the parameter, such as f(b) in the derivative by eta, drops out."""
    return tidy(derivative(term.body, parameter)) if isinstance(term, Grad) and term.parameter == parameter else term


def _split_log(term: Term) -> Term:
    match term:
        case Log(Mul(args)):
            numbers = [arg for arg in args if isinstance(arg, Number) and arg.value > 0]
            rest = tuple(arg for arg in args if arg not in numbers)
            if numbers and rest:
                return Add((*map(Log, numbers), Log(rest[0] if len(rest) == 1 else Mul(rest))))
    return term


def _even(term: Term) -> Term:
    """A normal density at loc - scale x is that at loc + scale x."""
    match term:
        case Density(NormalLaw(loc, scale) as law, Add((first, Mul(args)))) if first == loc and scale in args:
            rest = [arg for arg in args if arg not in (scale, Number(-1))]  # type: ignore[arg-type]
            if len(rest) == 1 and isinstance(rest[0], RandomVariable):
                return Density(law, loc + scale * rest[0])
    return term


# Code


def code_proof(mutant: CodeMutant, subject: Subject) -> str:
    """How a mutant of code is proved to be equivalent; empty where it is not."""
    if mutant.function == "draw":
        if _same_but_decorators(mutant, subject):
            return "only the decorator no_grad is gone: no value changes"
        return "the estimate is the same at every outcome of the draws" if _ignores_draws(subject) else ""
    if mutant.function == "every_outcome":
        shown = " and ".join(map(str, HELPER_SHAPES))
        return f"the same outcomes for logits of shapes {shown}" if _same_helper(mutant, subject) else ""
    try:
        return _by_terms(mutant, subject)
    except (symbolic.NotReadable, TooLarge) as error:
        return _as_formula(mutant.source, subject) or f"NOT READ: {error}"[:100]


def _by_terms(mutant: CodeMutant, subject: Subject) -> str:
    sizes, original = _sizes(subject), subject.generated.source
    what = "bits" if subject.family == "bernoulli" else "classes" if subject.family == "categorical" else "coordinates"
    said = f"{' and '.join(map(str, sizes))} {what}"
    if _is_identical(mutant.source, subject):
        return f"the same terms ({said})"
    for noise in sorted({"u", "v"} & set(subject.generated.noise)):
        if _is_identical(mutant.source, subject, noise):
            return f"{MIRRORED}{noise}, which has the law of {noise} ({said})"
    try:
        if symbolic.same_mean(original, mutant.source, subject.generated, sizes):
            return f"the same mean, as terms ({said})"
    except (symbolic.NotReadable, TooLarge):
        pass
    return _by_constant(mutant.source, subject) or _as_formula(mutant.source, subject)


def _is_identical(source: str, subject: Subject, *mirrored: str) -> bool:
    """Whether a source computes the same terms; not, where their difference is too large to be told."""
    try:
        return symbolic.identical(subject.generated.source, source, subject.generated, _sizes(subject), *mirrored)
    except TooLarge:
        return False


def _sizes(subject: Subject) -> tuple[int, ...]:
    many, relaxed = len(subject.generated.noise) > 1, "u" in subject.generated.noise
    large = relaxed and subject.generated.parameter is not None  # the square of an estimate, differentiated twice
    if subject.family == "categorical":
        return (2,) if large or len(subject.generated.noise) > 2 else (2, 3)
    return (1,) if large or (many and subject.family == "bernoulli" and not relaxed) else (1, 2)


def _by_constant(source: str, subject: Subject) -> str:
    """Whether an estimate g, of whose square the code takes the derivative, is changed by what no noise moves: E[dg] = 0."""
    g, sizes, original = dict(subject.estimator.where).get("g"), _sizes(subject), subject.generated
    if g is None or original.parameter is None or _with_g(source, "0") != _with_g(original.source, "0"):
        return ""
    k, by = Symbol("k"), subject.estimator.parameter
    shifted = replace(subject.estimator, formula=2 * (g + k) * Grad(g, by), derivation=None, where=())
    generated = generate(shifted, subject.family)
    vectors = replace(generated, kinds={**generated.kinds, "k": Kind.VECTOR})
    with_k = _with_g(original.source, "({}) + k").replace("*, ", "*, k, ", 1)
    moved = (_with_g(one, "{}", returned=True) for one in (source, original.source))
    if (
        symbolic.identical(with_k, generated.source, vectors, sizes)
        and symbolic.constant_difference(*moved, original, sizes)
        and verdict(shifted, (2,)) == "proved"  # takes longest
    ):
        return "a constant is added to g, and E[2 (g + k) dg] is derived"
    return ""


def _with_g(source: str, form: str, *, returned: bool = False) -> str:
    """The source with another value of the estimate g, its own being {} in the form; or one that returns g."""
    module = ast.parse(source)
    body = next(part for part in module.body if isinstance(part, ast.FunctionDef) and part.name == "estimate").body
    for statement in body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "g":
            statement.value = ast.parse(form.format(ast.unparse(statement.value)), mode="eval").body
    if returned:
        body[-1] = ast.Return(ast.Name("g", ast.Load()))
    return ast.unparse(ast.fix_missing_locations(module))


def _as_formula(source: str, subject: Subject) -> str:
    """Whether the code computes what is generated from a formula with one mistake that is proved."""
    for change, generated in _proved_sources(subject.estimator.name, subject.family):
        try:
            if symbolic.identical(generated, source, subject.generated, (2,)):
                return f"the same terms as the code of a derived formula: {change}"
        except (symbolic.NotReadable, TooLarge):
            continue
    return ""


@lru_cache
def _proved_sources(name: str, family: str) -> tuple[tuple[str, str], ...]:
    found = []
    for mutant in formulas.mutants(derive.load(name)):
        if verdict(mutant.estimator, (2,)) == "proved":
            try:
                found.append((mutant.change, generate(mutant.estimator, family).source))
            except GradproofError:
                continue
    return tuple(found)


def _same_but_decorators(mutant: CodeMutant, subject: Subject) -> bool:
    return _body(mutant.source, "draw") == _body(subject.generated.source, "draw")


def _ignores_draws(subject: Subject) -> bool:
    """Whether the code reads no more of its draws than their shape, at every outcome of 1 and 2 coordinates."""
    if subject.family == "normal" or {"u", "v"} & set(subject.generated.noise):
        return False
    return all(symbolic.constant(subject.generated, n) for n in (1, 2))


def _body(source: str, name: str) -> str:
    function = next(part for part in ast.parse(source).body if isinstance(part, ast.FunctionDef) and part.name == name)
    function.decorator_list = []
    return ast.dump(function)


def _same_helper(mutant: CodeMutant, subject: Subject) -> bool:
    ours, theirs = (_helper(source) for source in (mutant.source, subject.generated.source))
    try:
        return all(torch.equal(ours(torch.zeros(shape), shape), theirs(torch.zeros(shape), shape)) for shape in HELPER_SHAPES)
    except RuntimeError:
        return False


def _helper(source: str) -> Callable[..., torch.Tensor]:
    module: dict[str, Callable[..., torch.Tensor]] = {}
    exec(source, module)  # type: ignore[arg-type]  # noqa: S102, generated code and its mutants
    return module["every_outcome"]
