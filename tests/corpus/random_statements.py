"""Random statements: true ones of the corpus, rewritten so that they stay true, or changed in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from derive.language.named import exponential, poisson
from derive.language.notation import absolute, clip, indicator, maximum, minimum, sign
from derive.language.scope import depends
from derive.language.term import (
    Add,
    Apply,
    Exp,
    Expect,
    Grad,
    Mul,
    Number,
    Over,
    Power,
    Score,
    Stop,
    Term,
    anywhere,
    lift,
    parts,
    rebuild,
)
from tests.corpus.judges import STATEMENTS
from tests.corpus.notation import (
    E,
    Over as over,
    Statement,
    c,
    copies,
    d,
    f,
    finite,
    function,
    g,
    p,
    phi,
    ref,
    s1,
    score,
    stop,
    theta,
)

UNUSED = finite("unused", law="unused")
TRUE = tuple(statement for statement in STATEMENTS if statement.label)

Path = tuple[int, ...]


def places(term: Term, path: Path = ()) -> Iterator[tuple[Path, Term]]:
    """Yield the subterms that are scalars of a formula: not those of laws, of points and of arguments, nor divisors."""
    yield path, term
    inner: tuple[int, ...] = ()
    match term:
        case Add(args) | Mul(args):
            inner = tuple(range(len(args)))
        case Power(_, exponent) if exponent > 0:
            inner = (0,)
        case Stop() | Grad() | Exp():
            inner = (0,)
        case Expect() | Over():
            inner = (len(parts(term)) - 1,)
    for index in inner:
        yield from places(parts(term)[index], (*path, index))


def changed(term: Term, path: Path, change: Callable[[Term], Term]) -> Term:
    """Return the term with one subterm changed."""
    if not path:
        return change(term)
    new = list(parts(term))
    new[path[0]] = changed(new[path[0]], path[1:], change)
    return rebuild(term, tuple(new))


# Rewriting keeps a statement true, also under gradients


def _detour(random: Random, term: Term) -> Term:
    """Write a term in another way that is equal to it as a function of everything."""
    leaf = random.choice([c, theta, phi, c**2, theta * c])
    ways = [
        term + leaf - leaf,
        2 * term - term,
        -1 * (-1 * term),
        term * (1 + leaf**2) / (1 + leaf**2),
        *([] if depends(term, UNUSED) else [E(term, UNUSED), over(p(UNUSED), UNUSED) * term]),
        term + leaf * E(s1, copies_of_b[0]),
        term + E(f(ref) - f(ref), ref),
        _turned(random, term, leaf),
        _sloped(random, term, leaf),
        _named(random, term, leaf),
    ]
    if isinstance(term, (Add, Mul)):
        ways += [type(term)(tuple(random.sample(term.args, len(term.args))))] * 3
    return random.choice(ways)


def _turned(random: Random, term: Term, leaf: Term) -> Term:
    """Write a term with a sign: of constants, which do not move, so that it has a derivative where the constants differ."""
    other = random.choice([c + 1, 2 * c - phi, lift(0), -c])
    fixed = random.choice([c, phi, c * phi, c**2])
    return random.choice([
        term * absolute(fixed) * sign(fixed) - (fixed - 1) * term,
        term + minimum(fixed, other) + maximum(other, fixed) - fixed - other,
        term + leaf * (absolute(fixed - other) ** 2 - (fixed - other) ** 2),
        term * (1 + sign(fixed) + sign(-2 * fixed)),
        term * (indicator(fixed) + indicator(-fixed)) + term * (1 - sign(fixed) ** 2),
        term + leaf * (clip(fixed, other, other)) - leaf * other,
        term + E(absolute(f(ref)) * sign(f(ref)) - f(ref), ref),
    ])  # fmt: skip


def _sloped(random: Random, term: Term, leaf: Term) -> Term:
    """Write a term with the slope of a function, at a point that moves or does not."""
    at = random.choice([theta, theta * c, theta**2 + phi, stop(theta) * theta])
    inner = d(W(at)) - W.slope(at) * d(at)
    return term + leaf * random.choice([inner, d(W.slope(at)) - W.slope.slope(at) * d(at), E(f(ref), ref) * inner])


def _named(random: Random, term: Term, leaf: Term) -> Term:
    """Write a term with a law that is known by its name."""
    inner = random.choice([
        E(rate * W(count + 1) - count * W(count), count),
        E(W.slope(wait) - rate * W(wait), wait) + rate * W(0),
        E(W(wait) * score(wait, phi), wait),
        E(count * W(wait), count, wait) - rate * E(W(wait), wait),
        d(E(W(arrivals), arrivals)) - E(W(arrivals + 1) - W(arrivals), arrivals) * d(1 + theta**2),
    ])  # fmt: skip
    return term + leaf * inner


rate = lift(2)
count, wait, arrivals = poisson("count", rate=rate), exponential("wait", rate=rate), poisson("arrivals", rate=1 + theta**2)
W = function("w", differentiable=True)
copies_of_b = copies(finite("b", theta), 2)


def rewritten(random: Random, statement: Statement) -> Statement:
    """Rewrite one side in one place, or do the same to both sides."""
    left, right = statement.left, statement.right
    other = random.choice(TRUE)
    match random.randrange(8):
        case 0:
            left, right = left + other.left, right + other.right
        case 1:
            factor = random.choice([c, theta, Number(-2), E(g(ref), ref)])
            left, right = left * factor, right * factor
        case 2:
            left, right = right, left
        case 3 if not anywhere(left + right, lambda term: isinstance(term, Stop)):  # what is stopped is equal in value alone
            left, right = d(left), d(right)
        case number:
            side = left if number % 2 else right
            path, _ = random.choice(list(places(side)))
            side = changed(side, path, lambda term: _detour(random, term))
            left, right = (side, right) if number % 2 else (left, side)
    return replace(statement, left=left, right=right)


def random_true(seed: int) -> Statement:
    """Return a statement that is true by construction."""
    random = Random(seed)
    statement = random.choice(TRUE)
    for _ in range(random.randint(1, 3)):
        statement = rewritten(random, statement)
    return replace(statement, name=f"{statement.name}, rewritten by {seed}")


# A change makes most statements false


def _mistake(random: Random, term: Term) -> Term:
    ways: list[Term] = [2 * term, -term, term + 1, term**2, stop(term), term * c, term * sign(c)]
    ways += [maximum(term, term + 1), absolute(c) * term, term + indicator(c**2), minimum(term, 2 * term - term - c**2)]
    match term:
        case Add(args) | Mul(args) if len(args) > 1:
            dropped = random.randrange(len(args))
            rest = args[:dropped] + args[dropped + 1 :]
            ways += [rest[0] if len(rest) == 1 else type(term)(rest)] * 4
        case Grad(body, _) | Stop(body) | Expect(body, _):
            ways += [body] * 4 if isinstance(term, (Grad, Stop)) else []
        case Apply(function, args) if type(function).__name__ == "Function":
            ways += [Apply(replace(function, name="g" if function.name == "f" else "f"), args)] * 4
        case Score():
            ways += [d(term)] * 2
    return random.choice(ways)


def random_changed(seed: int) -> Statement:
    """Return a statement with one mistake, or one that a mistake has left true: its label means nothing."""
    random = Random(seed)
    statement = random.choice(STATEMENTS)
    side = random.choice([True, False])
    term = statement.left if side else statement.right
    path, _ = random.choice(list(places(term)))
    term = changed(term, path, lambda one: _mistake(random, one))
    left, right = (term, statement.right) if side else (statement.left, term)
    return replace(statement, name=f"{statement.name}, changed by {seed}", left=left, right=right)
