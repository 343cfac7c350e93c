"""What occurs in a formula: variables, maps of a relaxation, continuous arguments. Nothing is evaluated here."""

from __future__ import annotations

from collections.abc import Iterator

from derive.term import (
    Apply,
    ConditionalLatent,
    Expect,
    Latent,
    NormalLaw,
    Over,
    RandomVariable,
    Term,
    Threshold,
    UniformLaw,
    parts,
)


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


def variables(term: Term) -> Iterator[RandomVariable]:
    """Yield every variable that occurs, bound ones and those of laws too."""
    if isinstance(term, RandomVariable):
        yield term
    if isinstance(term, (Expect, Over)):
        yield term.variable
    if isinstance(term, Apply) and isinstance(term.function, (Latent, Threshold, ConditionalLatent)) and term.function.law:
        for part in term.function.law.terms:
            yield from variables(part)
    for part in parts(term):
        yield from variables(part)


def variables_free(term: Term) -> Iterator[RandomVariable]:
    """Yield the random variables that occur free."""
    if isinstance(term, RandomVariable):
        yield term
    if isinstance(term, (Expect, Over)):
        for part in term.variable.law.terms:
            yield from variables_free(part)
        yield from (variable for variable in variables_free(term.body) if variable != term.variable)
        return
    for part in parts(term):
        yield from variables_free(part)


def maps_of(term: Term) -> Iterator[Apply]:
    """Yield the applications h(u, theta) and h_tilde(v, b, theta)."""
    if isinstance(term, Apply) and isinstance(term.function, (Latent, ConditionalLatent)):
        yield term
    for part in parts(term):
        yield from maps_of(part)


def polynomial_places(term: Term) -> Iterator[tuple[str, int]]:
    """Yield the argument places of functions in which a continuous variable that is integrated stands."""
    if isinstance(term, Apply) and not isinstance(term.function, (Latent, ConditionalLatent)):
        yield from ((term.function.name, i) for i, arg in enumerate(term.args) if _has_real(arg))
    for part in parts(term):
        yield from polynomial_places(part)


def _has_real(term: Term) -> bool:
    if isinstance(term, RandomVariable):
        return isinstance(term.law, (NormalLaw, UniformLaw))
    if isinstance(term, Apply) and isinstance(term.function, (Latent, ConditionalLatent)):
        return any(_has_real(arg) for arg in term.args[1:])
    return any(_has_real(part) for part in parts(term))
