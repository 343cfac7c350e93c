"""The functions that stand for the user's in a crosscheck: of these, right estimates have a known mean and wrong ones another.

At the size that is asked for they are quadratic where a formula and its rules allow it, since then few coordinates interact and
few nodes are exact. A quadratic function also satisfies what others do not: half the sum of f(mu + s) and f(mu - s) is its mean
under a normal law, and its third differences vanish. So a second set is tried at the smallest size, where every rule is cheap:
quartic under polynomials of normal noise, else a cubic, a sine and an exponential.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from derive.language.estimator import Estimator
from derive.language.term import Apply, Log, NamedLaw, Power, Sign, SoftThreshold, Symbol, Term, anywhere, subterms
from numeric.codegen.inputs import Objective
from numeric.codegen.laws import laws_of
from numeric.codegen.meaning.vectors import functions_with_slopes, user_function
from numeric.codegen.noise_roles import latent_controls, roles, uses_raw_latent
from numeric.codegen.running.branches import has_signs
from numeric.codegen.torchgen import Generated

Squash: TypeAlias = Callable[[Tensor], Tensor] | None
Maker: TypeAlias = Callable[[int, Squash], Objective]

MIDDLE = 0.4  # between the outcomes of a bit, and between the probabilities of the cases
STRETCH = 4.0  # so that clips to (-1, 1) take all of their branches


def functions_for(
    estimator: Estimator, family: str, generated: Generated, *, polynomial: bool, joint: bool, smallest: bool
) -> dict[str, Objective]:
    """Return one for each function of the formula, by its name in the code.

    Args
        polynomial  whether quadratic functions make a problem that has an exact rule, or few interacting coordinates
        joint       whether all outcomes are enumerated together, so that any function will do
        smallest    whether it is the second set, which is tried at the smallest size
    """
    squash = {"bernoulli": torch.sigmoid, "categorical": lambda x: torch.softmax(x, -1)}.get(family)
    raw = squash if uses_raw_latent(estimator.formula) else None
    raw = _bounded if any(isinstance(law, NamedLaw) for law in laws_of(estimator)) else raw
    names = {name: i for i, name in enumerate(generated.functions)}
    bent = {generated.names[function] for function in functions_with_slopes(estimator.formula)}
    controls = {generated.names[function] for function in latent_controls(estimator.formula)}
    shifts = raw is not None and family == "categorical" and roles(estimator).shifted
    plain = _maker(family, polynomial=polynomial, joint=joint, smallest=smallest)
    curved = partial(_curved, other=plain) if family == "normal" and not joint else _generic
    centred = smallest and has_signs(estimator) and not needs_positive(estimator)

    def maker(name: str) -> Maker:
        if shifts and name in controls:
            return partial(_shifted, other=plain)
        if name in generated.vectors:
            return _sloped
        made = curved if name in bent else plain
        return partial(_centred, other=made) if centred else made

    return {name: maker(name)(i, raw) for name, i in names.items()}


def _maker(family: str, *, polynomial: bool, joint: bool, smallest: bool) -> Maker:
    if joint:
        return _generic
    if not polynomial:
        return partial(_log_joint, other=_wave if smallest else _quadratic)
    if not smallest:
        return _quadratic
    return partial(_curved, other=_quadratic) if family == "normal" else _generic


def signed_constants(estimator: Estimator) -> set[str]:
    """The constants that decide a branch and may have any sign: those under a sign, and in no law, logarithm or denominator."""
    terms = (estimator.formula, estimator.target)
    laws = [term for draw in estimator.draws for term in draw.law.terms]
    under = {leaf for term in terms for part in subterms(term) if isinstance(part, Sign) for leaf in _symbols(part.arg)}
    positive = {leaf for term in terms for part in subterms(term) if _demands_positive(part) for leaf in _symbols(part)}
    return under - positive - {leaf for term in laws for leaf in _symbols(term)}


def _symbols(term: Term) -> set[str]:
    return {leaf.name for leaf in subterms(term) if isinstance(leaf, Symbol)}


def needs_positive(estimator: Estimator) -> bool:
    """Whether a function must be positive: a logarithm is taken of it, or it stands in a denominator."""

    def needs(term: Term) -> bool:
        return _demands_positive(term) and anywhere(term, lambda part: user_function(part) is not None)

    return any(anywhere(term, needs) for term in (estimator.formula, estimator.target))


def _demands_positive(term: Term) -> bool:
    """Whether what stands in it must be positive: a logarithm, a denominator, or a relaxation with its temperature."""
    soft = isinstance(term, Apply) and isinstance(term.function, SoftThreshold)
    return soft or isinstance(term, Log) or (isinstance(term, Power) and term.exponent < 0)


def _bounded(x: Tensor) -> Tensor:
    """About x where it is small, and bounded: a named law may have too long a tail for the mean of an exponential."""
    return 4 * torch.tanh(x / 4)


def _weighted_sum(args: Sequence[Tensor]) -> Tensor:
    x = args[0]
    for i, arg in enumerate(args[1:], 1):
        x = x + (1 + 0.5 * i) * arg
    return x


def _quadratic(k: int, squash: Squash) -> Objective:
    """f(b) = mean (b_i - 0.499)^2 + (w . b)^2 / n, with weights w of their own for each k: quadratic, and all pairs interact.

    A formula that applies functions to latent variables themselves gets f(squash(x)): there it is smooth at infinity.
    """

    def objective(*args: Tensor) -> Tensor:
        x = _weighted_sum(args)
        x = x if squash is None else squash(x)
        n = x.shape[-1]
        w = torch.cos(torch.arange(1, n + 1, device=x.device, dtype=x.dtype) * (1 + 0.37 * k))
        return (x - 0.499).square().mean(-1) + (x * w).sum(-1).square() / n

    return objective


def _sloped(k: int, squash: Squash) -> Objective:
    """A function that gives a vector: the gradient of a quadratic one, with weights of its own for each k."""

    def sloped(*args: Tensor) -> Tensor:
        x = _weighted_sum(args)
        x = x if squash is None else squash(x)
        w = torch.cos(torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype) * (1.3 + 0.37 * k))
        return 2 * (x - 0.3 - 0.2 * k) + (x * w).sum(-1, keepdim=True) * w

    return sloped


def _shifted(k: int, squash: Squash, other: Maker) -> Objective:
    """One of latent variables that is linear in a common shift of its arguments: a soft minimum, times another function."""
    times = other(k, squash)
    return lambda *args: -torch.logsumexp(-_weighted_sum(args), -1) * times(*args)


def _log_joint(k: int, squash: Squash, other: Maker) -> Objective:
    """A log-density near a normal one: the weights exp(log_joint - log q) of a formula with exponentials stay moderate."""
    less = other(k, squash)
    return lambda *args: -0.5 * args[0].square().sum(-1) - 0.1 * less(*args)


def _wave(k: int, squash: Squash) -> Objective:
    """A sine: bounded, and no polynomial."""

    def wave(*args: Tensor) -> Tensor:
        x = _weighted_sum(args)
        x = x if squash is None else squash(x)
        count = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
        return torch.sin((x * torch.cos(count * (1 + 0.37 * k))).sum(-1) + 0.3 * k)

    return wave


def _generic(k: int, squash: Squash) -> Objective:
    """A function that is no polynomial, a cubic, a sine and an exponential, with weights of its own for each k; positive.

    On outcomes it is a table: no two outcomes, and no two orders of the arguments, have the same value.
    """

    def generic(*args: Tensor) -> Tensor:
        x = _weighted_sum(args)
        x = x if squash is None else squash(x)
        count = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
        t, s = (x * torch.cos(count * (1 + 0.37 * k))).sum(-1), (x * torch.sin(count + 0.21 * k)).sum(-1)
        return 1.2 + torch.sin(t + 0.3 * k) + 0.02 * (t + s) ** 3 + torch.exp(0.3 * s)

    return generic


def _curved(k: int, squash: Squash, other: Maker) -> Objective:
    """Another function less a quartic one: the mean of its slopes, first or second, is not the slope at the mean."""
    less = other(k, squash)

    def curved(*args: Tensor) -> Tensor:
        x = _weighted_sum(args)
        x = x if squash is None else squash(x)
        w = torch.cos(torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype) * (0.8 + 0.37 * k))
        return less(*args) - 0.02 * ((x * w).sum(-1) - 0.5) ** 4

    return curved


def _centred(k: int, squash: Squash, other: Maker) -> Objective:
    """Another function, stretched about its value in the middle of the outcomes: it takes both signs."""
    bent = other(k, squash)

    def centred(*args: Tensor) -> Tensor:
        middle = [torch.full_like(args[0], MIDDLE) for _ in args]
        return STRETCH * (bent(*args) - bent(*middle))

    return centred
