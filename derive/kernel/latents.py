"""Where noise decides an outcome: the latent variables of a term, and a latent variable drawn given its outcome. TRUSTED."""

from __future__ import annotations

from derive.kernel import algebra as scalar
from derive.kernel.judgement import refuse
from derive.kernel.premises import ConditionalReparameterization
from derive.language.scope import depends, free
from derive.language.term import (
    Apply,
    ConditionalLatent,
    Expect,
    FiniteLaw,
    Grad,
    Latent,
    Over,
    RandomVariable,
    Score,
    Stop,
    Term,
    Threshold,
    UniformLaw,
    anywhere,
    parts,
    rebuild,
)


def drawn_after(term: Term, outcome: RandomVariable, noise: RandomVariable) -> tuple[Expect, ConditionalReparameterization]:
    """Return the expectation with the outcome drawn first and the latent variable given it, and the premise of that.

    Raises
        RuleError, as `derive.kernel.theorem.conditional_reparameterize`.
    """
    if not isinstance(term, Expect) or not _is_noise(term.variable) or not _is_noise(noise) or depends(term, noise):
        refuse("conditional_reparameterize needs an expectation over uniform noise, and other, unused noise.")
    law, latents = outcome.law, _latents(term.body, term.variable)
    if len(latents) != 1 or depends(term, outcome):
        refuse(f"conditional_reparameterize needs one latent variable h({term.variable.name}, .) and an unused outcome.")
    latent = latents.pop()
    if not isinstance(law, FiniteLaw) or not _stands_at(latent, law):
        refuse(f"conditional_reparameterize: the latent variable does not stand where the law of {outcome.name} does.")
    own: FiniteLaw = latent.function.law  # type: ignore[attr-defined]
    hard = Apply(Threshold("H", False, own, outcome.name), (latent,))
    conditional = Apply(ConditionalLatent("h_tilde", True, own), (noise, outcome, *latent.args[1:]))
    body = _replaced(_replaced(term.body, hard, outcome, hard=True), latent, conditional, hard=False)
    if depends(body, term.variable):
        refuse(f"conditional_reparameterize: {term.variable.name} is used outside the latent variable.")
    result = Expect(Expect(body, noise) if depends(body, noise) else body, outcome)
    return result, ConditionalReparameterization(outcome, hard, conditional, latent)


def _is_noise(variable: RandomVariable) -> bool:
    """Whether a variable is uniform on (0, 1)."""
    return variable.law == UniformLaw(scalar.ZERO, scalar.ONE)


def _latents(term: Term, noise: RandomVariable) -> set[Apply]:
    """Return the latent variables h(u, .) that a noise variable drives in a term."""
    own = {term} if isinstance(term, Apply) and isinstance(term.function, Latent) and term.args[0] == noise else set()
    return own.union(*(_latents(part, noise) for part in parts(term)))


def _stands_at(latent: Apply, law: FiniteLaw) -> bool:
    """Whether h(u, .) decides an outcome of this law: its arguments are what the law stands at, in the order of the law."""
    own = latent.function.law if latent.function == Latent("h", True, getattr(latent.function, "law", None)) else None
    if own is None or len(own.terms) != len(law.terms) or len(own.given) != len(law.given):
        return False
    return own.with_terms(latent.args[1:]) == law


def _replaced(term: Term, old: Term, new: Term, *, hard: bool) -> Term:
    """Replace a subterm, refusing where a binder would capture the new one or a law would change under its variable.

    A gradient may hold a hard outcome fixed, which is piecewise constant, but no latent variable; a stop neither, since the law
    of the outcome goes on moving.
    """
    if term == old:
        return new
    if not anywhere(term, lambda part: part == old):
        return term
    moving = parts(term)[:-1] if isinstance(term, Score) else (term,) if isinstance(term, Grad) else ()
    if isinstance(term, Stop) or (not hard and any(anywhere(part, lambda inner: inner == old) for part in moving)):
        refuse("conditional_reparameterize: the derivative of h(u, .) at fixed noise is no function of the latent variable.")
    if isinstance(term, (Expect, Over)):
        in_law = any(anywhere(part, lambda inner: inner == old) for part in term.variable.law.terms)
        if in_law or term.variable in free(new) | free(old):
            refuse(f"conditional_reparameterize: the variable {term.variable.name} is bound again inside the expectation.")
    return rebuild(term, tuple(_replaced(part, old, new, hard=hard) for part in parts(term)))
