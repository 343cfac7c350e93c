"""What the statements of the corpus are written with: the notation, a few variables and functions, and `Statement`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import permutations

from derive.kernel.premises import Covers, Premise, SupportFixed
from derive.language.errors import ScopeError
from derive.language.estimator import Estimator
from derive.language.notation import (
    E as E,
    Over as Over,
    constant,
    continuous as continuous,
    copies,
    exp as exp,
    finite,
    function,
    grad as grad,
    log as log,
    normal,
    p as p,
    parameter,
    relaxation,
    score as score,
    sigmoid as sigmoid,
    stop as stop,
    uniform,
)
from derive.language.term import Density, Exact, Expect, FiniteLaw, Grad, RandomVariable, Term, lift, parts


@dataclass(frozen=True)
class Statement:
    """One line of the corpus: `left = right` for every law, function and value that the names may stand for, or not.

    Args
        name       what is stated, or which mistake is made
        left       usually the mean of an estimate
        right      usually the gradient that it should estimate
        label      whether it is true
        reason     why
    """

    name: str
    left: Term
    right: Term
    label: bool
    reason: str

    @property
    def estimator(self) -> Estimator | None:
        """The estimator of the side that is a gradient, whose mean is the other side; None where none is, or one is not closed."""
        formula, target = (self.left, self.right) if isinstance(self.right, Grad) else (self.right, self.left)
        draws: list[RandomVariable] = []
        while isinstance(formula, Expect):
            draws.append(formula.variable)
            formula = formula.body
        try:
            return Estimator(self.name, formula, tuple(draws), target) if isinstance(target, Grad) else None
        except ScopeError:
            return None

    @property
    def given(self) -> tuple[Premise, ...]:
        """The premises under which it is labelled: the support of an abstract density does not move, finite laws have one."""
        fixed = (SupportFixed(one, theta) for one in (t, t1, t2, tq))
        laws = dict.fromkeys((*_finite(self.left), *_finite(self.right)))
        return (*fixed, *(Covers(Density(one, b), Density(other, b)) for one, other in permutations(laws, 2)))


def _finite(term: Term) -> Iterator[FiniteLaw]:
    law = getattr(getattr(term, "variable", term), "law", None)
    if isinstance(law, FiniteLaw):
        yield law
    for part in parts(term):
        yield from _finite(part)


@dataclass
class Chapter:
    """The statements of one file."""

    title: str
    statements: list[Statement] = field(default_factory=list)

    def true(self, name: str, left: Exact, right: Exact, reason: str) -> None:
        """Add a statement that holds."""
        self.statements.append(Statement(name, lift(left), lift(right), True, reason))

    def false(self, name: str, left: Exact, right: Exact, reason: str) -> None:
        """Add a statement that fails for some law, function or value."""
        self.statements.append(Statement(name, lift(left), lift(right), False, reason))


def d(term: Exact) -> Grad:
    """The derivative by theta."""
    return grad(term, theta)


half, third = Fraction(1, 2), Fraction(1, 3)
theta, phi = parameter("theta"), parameter("phi")
c, lam, eta = constant("c"), constant("lambda"), constant("eta")
f, g, h, V = function("f"), function("g"), function("h"), function("V")
F, G = function("f", differentiable=True), function("g", differentiable=True)
mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)

b = finite("b", theta)
b1, b2, b3, b4 = copies(b, 4)
s, s1, s2, s3 = (score(one) for one in (b, b1, b2, b3))
other = finite("o", theta, law="p")
q = finite("q", theta, law="q")
q1, q2 = copies(q, 2)
ref = finite("r", law="r")
r1, r2 = copies(ref, 2)
a = finite("a", theta, law="k", given=(b,))
sa = score(a)
both = finite("d", theta, phi, law="m")

z = normal("z", theta, 1)
eps = normal("epsilon")
e1, e2 = copies(eps, 2)
u, v = uniform("u"), uniform("v")
t = continuous("t", theta)
t1, t2 = copies(t, 2)
tq = continuous("y", theta, law="q")

relaxed = relaxation(b)
latent = relaxed.h(u, theta)
hard = relaxed.H(latent)
tilde, again = relaxed.h_tilde(v, hard, theta), relaxed.h_tilde(v, b, theta)
soft, soft_tilde, soft_again = (relaxed.sigma(at, lam) for at in (latent, tilde, again))

mean = E(f(b), b)
reinforce = d(mean)
