"""What occurs in a formula: variables, maps of a relaxation, continuous arguments. Nothing is evaluated here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Expect,
    FiniteLaw,
    Grad,
    Latent,
    Law,
    Mul,
    NamedLaw,
    NormalLaw,
    Over,
    Power,
    RandomVariable,
    Score,
    Slope,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    anywhere,
    parts,
)
from derive.sharing import remembered


def nested(term: Expect) -> list[Expect]:
    """Return directly nested expectations over distinct variables, outermost first."""
    chain = [term]
    while isinstance(chain[-1].body, Expect) and chain[-1].body.variable not in {node.variable for node in chain}:
        chain.append(chain[-1].body)
    return chain


def chain_of(term: Expect) -> list[Expect]:
    """Return nested expectations over independent copies, outermost first."""
    chain = [term]
    while isinstance(chain[-1].body, Expect) and chain[-1].body.variable.law == term.variable.law:
        bound = {node.variable for node in chain} | {chain[-1].body.variable}
        if len(bound) == len(chain) or any(v in bound for part in term.variable.law.terms for v in variables(part)):
            break
        chain.append(chain[-1].body)
    return chain


@remembered
def variables(term: Term) -> tuple[RandomVariable, ...]:
    """Return every variable that occurs, bound ones and those of laws too, each once."""
    found = dict[RandomVariable, None]()
    if isinstance(term, RandomVariable):
        found[term] = None
    if isinstance(term, (Expect, Over)):
        found[term.variable] = None
    mapped = term.function if isinstance(term, Apply) else None
    law = mapped.law if isinstance(mapped, (Latent, Threshold, ConditionalLatent)) else None
    for part in (*(law.terms if law else ()), *parts(term)):
        found |= dict.fromkeys(variables(part))
    return tuple(found)


@remembered
def variables_free(term: Term) -> tuple[RandomVariable, ...]:
    """Return the random variables that occur free, each once."""
    found = dict[RandomVariable, None]()
    if isinstance(term, RandomVariable):
        found[term] = None
    *outside, inner = parts(term) or (None,)
    for part in outside:
        found |= dict.fromkeys(variables_free(part))
    if inner is not None:
        bound = term.variable if isinstance(term, (Expect, Over)) else None
        found |= {variable: None for variable in variables_free(inner) if variable != bound}
    return tuple(found)


def maps_of(term: Term) -> Iterator[Apply]:
    """Yield the applications h(u, theta) and h_tilde(v, b, theta)."""
    if isinstance(term, Apply) and isinstance(term.function, (Latent, ConditionalLatent)):
        yield term
    for part in parts(term):
        yield from maps_of(part)


def stands_at_its_law(found: Apply, law: FiniteLaw) -> bool:
    """Whether h(u, ...) or h_tilde(v, b, ...) stands at the parameters of this law, stopped or not, if it is one of its maps.

    >>> from derive.notation import finite, parameter, relaxation, stop, uniform
    >>> theta, u = parameter("theta"), uniform("u")
    >>> b = finite("b", theta)
    >>> h = relaxation(b).h
    >>> [stands_at_its_law(at, b.law) for at in (h(u, theta), h(u, stop(theta)), h(u, theta + 1))]
    [True, True, False]
    """
    if not isinstance(found.function, (Latent, ConditionalLatent)) or found.function.law != law:
        return True
    noise = 1 if isinstance(found.function, Latent) else 2
    return tuple(unstopped(arg) for arg in found.args[noise:]) == law.terms


def unstopped(term: Term) -> Term:
    """Return what a stopped term has the value of."""
    return unstopped(term.body) if isinstance(term, Stop) else term


def is_stopped_decision(term: Term, noise: RandomVariable) -> bool:
    """Whether the outcome H(h(noise, ...)) is decided somewhere at a stopped parameter, so that its law does not move."""
    inner = term.args[0] if isinstance(term, Apply) and isinstance(term.function, Threshold) else None
    if isinstance(inner, Apply) and isinstance(inner.function, Latent) and inner.args[0] == noise:
        return any(isinstance(arg, Stop) for arg in inner.args[1:])
    return any(is_stopped_decision(part, noise) for part in parts(term))


def polynomial_places(term: Term, laws: tuple[type[Law], ...] = (NormalLaw, UniformLaw, NamedLaw)) -> Iterator[tuple[str, int]]:
    """Yield the argument places of functions in which a variable stands that is integrated as a polynomial."""
    if isinstance(term, Apply) and not isinstance(term.function, (Latent, ConditionalLatent)):
        name = term.function.orders[0].name if isinstance(term.function, Slope) else term.function.name
        yield from ((name, i) for i, arg in enumerate(term.args) if _has_real(arg, laws))
    for part in parts(term):
        yield from polynomial_places(part, laws)


def _has_real(term: Term, laws: tuple[type[Law], ...]) -> bool:
    if isinstance(term, RandomVariable):
        return isinstance(term.law, laws)
    if isinstance(term, Apply) and isinstance(term.function, (Latent, ConditionalLatent)):
        return any(_has_real(arg, laws) for arg in term.args[1:])
    return any(_has_real(part, laws) for part in parts(term))


def depends_on(term: Term, variable: RandomVariable) -> bool:
    """Whether a variable occurs in a term, or in the law of a variable that does."""
    return any(v == variable or any(depends_on(part, variable) for part in v.law.terms) for v in variables(term))


def depends_on_symbol(term: Term, names: set[str]) -> bool:
    """Whether a symbol of one of these names occurs in a term."""
    return anywhere(term, lambda part: isinstance(part, Symbol) and part.name in names)


def has_outcomes(terms: Iterable[Term]) -> bool:
    """Whether the number of outcomes of finite laws says something of terms: whether there is one, drawn or relaxed.

    >>> from derive.notation import E, finite, function, parameter, poisson
    >>> theta, f = parameter("theta"), function("f")
    >>> b, n = finite("b", theta), poisson("n", rate=theta)
    >>> has_outcomes([E(f(b), b)]), has_outcomes([E(f(n), n)])
    (True, False)
    """

    def is_finite(part: Term) -> bool:
        holder = part.function if isinstance(part, Apply) else part.variable if isinstance(part, (Expect, Over)) else part
        return isinstance(getattr(holder, "law", None), FiniteLaw)

    return any(anywhere(term, is_finite) for term in terms)


def read_on(terms: Iterable[Term], outcomes: str, reading: str) -> str:
    """Return in words on what a formula was read: on so many outcomes or points, or where there are none as `reading` says.

    >>> from derive.notation import E, function, parameter, poisson
    >>> n, f = poisson("n", rate=parameter("theta")), function("f")
    >>> read_on([E(f(n), n)], "2", "polynomials of degree 3 under a Poisson law")
    'for polynomials of degree 3 under a Poisson law'
    """
    if has_outcomes(terms) or not reading:
        return f"on {outcomes} outcomes"
    return f"on {outcomes} points of a base measure" if "location-scale" in reading else f"for {reading}"


def holds_for(terms: Iterable[Term], outcomes: int | None, degree: int, *, nodes: bool) -> str:
    """Return in words for what an identity holds that was read on so many outcomes (None for any), in polynomials or on nodes.

    A mean over S draws from a base measure is a form of degree S in it. By polarization, one that vanishes for all measures on
    S points vanishes for all measures, the normal law among them.

    >>> from derive.notation import E, finite, function, parameter
    >>> b, f = finite("b", parameter("theta")), function("f")
    >>> holds_for([E(f(b), b)], 3, 3, nodes=False)
    'every law on 3 outcomes'
    """
    terms = tuple(terms)
    drawn = [variable for term in terms for variable in variables(term)]
    relaxed = any(True for term in terms for _ in maps_of(term))
    laws = {type(variable.law) for variable in drawn if not relaxed or not isinstance(variable.law, UniformLaw)}
    expanded = any(True for term in terms for _ in polynomial_places(term))
    functions = f"polynomials of degree {degree} under " if expanded and not nodes else ""
    result = []
    if FiniteLaw in laws or relaxed:
        number = "any finite number of" if outcomes is None else outcomes
        result.append(f"every law on {number} outcomes" + (" and every relaxation of it" if relaxed else ""))
    if NormalLaw in laws and nodes:
        points = f" on {outcomes} points" if outcomes is not None and max(map(normal_draws, terms)) > outcomes else ""
        measures = "every" if outcomes is None else f"every base measure{points} of a"
        result.append(f"{measures} location-scale family")
    elif NormalLaw in laws:
        result.append(functions + "a normal law")
    if UniformLaw in laws:
        result.append((functions or f"polynomials of degree {degree} under " if expanded else "") + "a uniform law")
    known = sorted({variable.law.name for variable in drawn if isinstance(variable.law, NamedLaw)})
    result += [f"{functions}{'an' if name[0] in 'AEIOU' else 'a'} {name} law" for name in known]
    return "; ".join(result) or "all values"


def symbols_in(terms: Iterable[Term]) -> set[str]:
    """Return the names of the symbols that occur in some terms."""
    found = {term.name for term in terms if isinstance(term, Symbol)}
    return found.union(*(symbols_in(parts(term)) for term in terms))


def normal_draws(term: Term) -> float:
    """Return the degree of a term in the base measure of normal variables, infinity where it is no polynomial in it.

    >>> from derive.notation import E, function, normal
    >>> x, y, f = normal("x"), normal("y"), function("f")
    >>> normal_draws(E(f(x, y), x, y)), normal_draws(E(f(x), x) * E(f(y), y) ** 3), normal_draws(1 / E(f(x), x))
    (2, 4, inf)
    """
    inner = [normal_draws(part) for part in parts(term)]
    match term:
        case Expect(_, variable):
            *law, body = inner
            own = body + isinstance(variable.law, NormalLaw)
            return inf if any(law) else own
        case Mul():
            return sum(inner)
        case Power(_, exponent) if exponent > 0:
            return exponent * inner[0]
        case Add() | Grad() | Stop():
            return max(inner)
    return inf if any(inner) else 0


def frozen_parts(term: Term, variable: RandomVariable) -> list[Term]:
    """Return the gradients, scores and stopped gradients of what depends on a variable: they hold its value fixed."""
    inner = [found for part in parts(term) for found in frozen_parts(part, variable)]
    return [term, *inner] if isinstance(term, (Grad, Score, Stop)) and depends_on(term, variable) else inner
