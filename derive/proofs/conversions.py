"""Ways to apply rules inside a term and to bring a term to normal form. Not trusted: everything goes through the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce

from derive.kernel import algebra as scalar, theorem as kernel
from derive.kernel.premises import Assuming
from derive.kernel.theorem import Theorem
from derive.language.choice import MOST_TOGETHER, ChoiceLaw, outcomes_together
from derive.language.errors import PremiseError, RuleError, TooLong
from derive.language.term import Density, Expect, Grad, Log, Number, Over, RandomVariable, Score, Term, parts

Path = tuple[int, ...]


@dataclass(frozen=True)
class Rewrite:
    """A named way to turn a term of one shape into an equal one; `apply` raises RuleError on other shapes.

    `variables` are those that a reader must be told beside the name: `reparameterization with epsilon`.
    """

    name: str
    apply: Callable[[Term, Assuming], Theorem]
    variables: tuple[RandomVariable, ...] = ()


def places(term: Term, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every subterm outside the laws of binders, the deepest first."""
    children = parts(term)
    first = len(children) - 1 if isinstance(term, (Expect, Over)) else 0
    for index in range(first, len(children)):
        yield from places(children[index], (*path, index))
    yield path


def subterm(term: Term, path: Path) -> Term:
    """Return what stands at a path."""
    for index in path:
        term = parts(term)[index]
    return term


def rewrite_at(term: Term, path: Path, rewrite: Rewrite, assuming: Assuming) -> Theorem:
    """Apply a rewrite at one place.

    Raises
        RuleError, if it does not apply there.
    """
    theorem = _applied(rewrite, subterm(term, path), assuming)
    if isinstance(theorem, RuleError):
        raise theorem
    return kernel.congruence(term, (path, theorem))


@lru_cache(maxsize=4096)
def _applied(rewrite: Rewrite, term: Term, assuming: Assuming) -> Theorem | RuleError:
    """Return the rewrite of a term, or its refusal: chains try the same places often."""
    try:
        return rewrite.apply(term, assuming)
    except RuleError as error:
        return error


def rewrite_everywhere(term: Term, rewrite: Rewrite, assuming: Assuming) -> Theorem:
    """Apply a rewrite once at every place where it applies, the deepest first.

    Raises
        RuleError, the last refusal, if it applies nowhere.
    """
    refusals = [RuleError(f"{rewrite.name} applies nowhere.")]
    known: dict[Term, Theorem | None] = {}

    def everywhere(part: Term) -> Theorem | None:
        if part not in known:
            known[part] = _everywhere(part, everywhere, rewrite, assuming, refusals)
        return known[part]

    theorem = everywhere(term)
    if theorem is None:
        raise reduce(worse, refusals)
    return theorem


def _everywhere(
    term: Term, inwards: Callable[[Term], Theorem | None], rewrite: Rewrite, assuming: Assuming, refusals: list[RuleError]
) -> Theorem | None:
    """Return the rewrite of a term everywhere, or None where it applies nowhere, noting the refusals."""
    try:
        inside = within(term, inwards)
    except RuleError as error:  # an equality of values only, where a derivative is taken
        refusals.append(error)
        inside = None
    own = _applied(rewrite, term if inside is None else inside.rhs, assuming)
    if isinstance(own, RuleError):
        refusals.append(own)
        return inside
    return own if inside is None else kernel.transitivity(inside, own)


def within(term: Term, convert: Callable[[Term], Theorem | None]) -> Theorem | None:
    """Convert the parts of a term outside the laws of binders, all at once; None where none of them changes."""
    children = parts(term)
    first = len(children) - 1 if isinstance(term, (Expect, Over)) else 0
    converted = [((index,), convert(children[index])) for index in range(first, len(children))]
    changed = [(path, theorem) for path, theorem in converted if theorem is not None and theorem.lhs is not theorem.rhs]
    return kernel.congruence(term, *changed) if changed else None


def written_out(term: Term, assuming: Assuming) -> Theorem | None:
    """Write out every explicit finite law of a term, those of the draws that come first before those that depend on them.

    None where there is none.

    Raises
        TooLong, if that are too many summands; PremiseError, if one is no law.

    >>> from derive.kernel.premises import EVERYTHING
    >>> from derive.language.outcomes import rademacher
    >>> from derive.notation import E, function
    >>> d, f = rademacher("d"), function("f")
    >>> print(written_out(E(f(d), d), EVERYTHING).rhs)
    (1/2) * f(1) + (1/2) * f(-1)
    """
    if outcomes_together(term) > MOST_TOGETHER:
        message = f"the explicit finite laws have more than {MOST_TOGETHER} outcomes together."
        raise TooLong(message)
    return _written_out(term, assuming)


def _written_out(term: Term, assuming: Assuming) -> Theorem | None:
    """Return what `written_out` does: what was counted with the whole is counted again only once a law is written out."""
    if not _is_explicit(term):
        return within(term, lambda part: _written_out(part, assuming))
    own = _outcomes(term, assuming)
    inside = within(own.rhs, lambda part: written_out(part, assuming))
    return own if inside is None else kernel.transitivity(own, inside)


def _is_explicit(term: Term) -> bool:
    match term:
        case Expect(_, RandomVariable(_, ChoiceLaw())) | Over(_, RandomVariable(_, ChoiceLaw())):
            return True
        case Density(ChoiceLaw(), at) | Score(ChoiceLaw(), at, _):
            return isinstance(scalar.tidy(at), Number)
    return False


@lru_cache(maxsize=4096)
def _outcomes(term: Term, assuming: Assuming) -> Theorem:
    return kernel.outcomes(term, assuming=assuming)


def worse(first: RuleError, second: RuleError) -> RuleError:
    """Return the refusal that says more: a premise that failed, rather than a shape that did not match."""
    return second if type(second) is not RuleError or type(first) is RuleError else first


@lru_cache(maxsize=4096)
def normalise(term: Term, assuming: Assuming, *, split: bool = True) -> Theorem:
    """Bring a term to normal form: gradients of sums and products taken, expectations split, factors moved out, algebra tidied.

    What a premise forbids stays as it is. With `split=False` expectations stay whole, so that none of their summands must be
    assumed to be integrable.

    >>> from derive.notation import E, constant, finite, function, parameter
    >>> from derive.kernel.premises import EVERYTHING
    >>> b, f, c = finite("b", parameter("theta")), function("f"), constant("c")
    >>> scalar.equal(normalise(E(c * f(b) + c, b), EVERYTHING).rhs, c * E(f(b), b) + c)
    True
    """
    theorem = within(term, lambda part: normalise(part, assuming, split=split)) or kernel.reflexivity(term)
    if split or isinstance(term, Grad):
        theorem = kernel.transitivity(theorem, _split(theorem.rhs, assuming))
    return kernel.transitivity(theorem, _tidied(theorem.rhs, assuming))


def equal_by_normal_form(left: Term, right: Term, assuming: Assuming) -> Theorem | None:
    """Return left = right if both have the same normal form, split as little as is needed."""
    for reach in (_as_it_is, _whole, normalise):
        first, second = reach(left, assuming), reach(right, assuming)
        if first.rhs == second.rhs:  # needs nothing, where algebra would need what its terms do
            return kernel.transitivity(first, kernel.symmetry(second))
        if scalar.equal(first.rhs, second.rhs):
            middle = kernel.algebra(first.rhs, second.rhs, assuming=assuming)
            return kernel.transitivity(kernel.transitivity(first, middle), kernel.symmetry(second))
    return None


def folded(theorem: Theorem, term: Term, unfold: Rewrite, assuming: Assuming) -> Theorem:
    """Return a theorem with another right side, which a rewrite unfolds to the one that it has, up to normal form.

    Raises
        RuleError, if the rewrite leads to something else, or applies nowhere.
    """
    unfolded = rewrite_everywhere(term, unfold, assuming)
    middle = equal_by_normal_form(theorem.rhs, unfolded.rhs, assuming)
    if middle is None:
        message = f"{unfold.name} leads to something else than the line before."
        raise RuleError(message)
    return _chain(theorem, middle, kernel.symmetry(unfolded))


def _as_it_is(term: Term, assuming: Assuming) -> Theorem:
    return kernel.reflexivity(term)


def _whole(term: Term, assuming: Assuming) -> Theorem:
    return normalise(term, assuming, split=False)


def total_probability(term: Term, assuming: Assuming) -> Theorem:
    """Return E_b[1] = 1."""
    if not isinstance(term, Expect) or term.body != scalar.ONE:
        message = "total probability needs the expectation of 1."
        raise RuleError(message)
    unfolded = kernel.definition(term, assuming=assuming)
    density = Over(Density(term.variable.law, term.variable), term.variable)
    *_, body = parts(unfolded.rhs)
    folded = kernel.congruence(unfolded.rhs, ((len(parts(unfolded.rhs)) - 1,), kernel.algebra(body, density.body)))
    return _chain(unfolded, folded, kernel.normalisation(density, assuming=assuming))


def _chain(first: Theorem, *others: Theorem) -> Theorem:
    for other in others:
        first = kernel.transitivity(first, other)
    return first


def _split(term: Term, assuming: Assuming) -> Theorem:
    """Differentiate a gradient or split an expectation, where a premise does not forbid it."""
    try:
        if isinstance(term, Grad) and not _is_log_density(term.body):
            return kernel.differentiate(term, assuming=assuming)
        if isinstance(term, (Expect, Over)) and not _is_one(term):
            return _ones(kernel.linearity(term, assuming=assuming), assuming)
    except RuleError:
        return kernel.reflexivity(term)
    return _ones(kernel.reflexivity(term), assuming)


def _is_log_density(term: Term) -> bool:
    """Whether a term is log p(b), whose gradient stays as it is: it is the score."""
    return isinstance(term, Log) and isinstance(term.arg, Density)


def _is_one(term: Expect | Over) -> bool:
    return term.body == scalar.ONE or (isinstance(term, Over) and term.body == Density(term.variable.law, term.variable))


def _ones(theorem: Theorem, assuming: Assuming) -> Theorem:
    """Replace E_b[1] and the sum of p(b) by 1 at the top of a sum of products."""
    found = list(_places_of_ones(theorem.rhs, assuming))
    return kernel.transitivity(theorem, kernel.congruence(theorem.rhs, *found)) if found else theorem


def _places_of_ones(term: Term, assuming: Assuming, path: Path = (), depth: int = 2) -> Iterator[tuple[Path, Theorem]]:
    one = _one(term, assuming) if isinstance(term, (Expect, Over)) and _is_one(term) else None
    if one is not None:
        yield path, one
    elif depth:
        children = parts(term)
        first = len(children) - 1 if isinstance(term, (Expect, Over)) else 0
        for index in range(first, len(children)):
            if depth > 1 or isinstance(children[index], (Expect, Over)):
                yield from _places_of_ones(children[index], assuming, (*path, index), depth - 1)


@lru_cache(maxsize=4096)
def _one(term: Expect | Over, assuming: Assuming) -> Theorem | None:
    """Return that E_b[1] or the sum of p(b) is 1, None where a premise forbids it."""
    try:
        return total_probability(term, assuming) if isinstance(term, Expect) else kernel.normalisation(term, assuming=assuming)
    except RuleError:
        return None


def _tidied(term: Term, assuming: Assuming) -> Theorem:
    """Bring a term to the normal form of algebra, where no premise of that fails."""
    tidy = scalar.tidy(term)
    try:
        return kernel.reflexivity(term) if tidy == term else kernel.algebra(term, tidy, assuming=assuming)
    except PremiseError:
        return kernel.reflexivity(term)
