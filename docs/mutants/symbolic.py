"""Generated code, run on exact symbols in place of tensors: what it computes, as terms.

`derive.kernel.algebra` decides about them.

Two sources that give the same terms are the same function of logits, noise, f and constants: that is a proof, for so many
coordinates. It knows torch by its definitions: softmax is a ratio of exponentials, log1p(x) is log(1 + x), and `detach` and
`no_grad` change no value. What it does not know is refused.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from fractions import Fraction
from functools import reduce
from itertools import product
from operator import add
from types import SimpleNamespace
from typing import Any

import numpy as np

from derive.kernel.algebra import equal
from derive.language.scope import substitute
from derive.language.term import Exp, Function, Log, Number, Sigmoid, Symbol, Term, lift
from numeric.codegen.expressions import Kind
from numeric.codegen.torchgen import Generated

MANY = 2**60
_many = ContextVar("_many", default=False)


class NotReadable(Exception):
    """The code does something that has no exact meaning here."""


class Array:
    """An array of terms with the few methods of a tensor that generated code uses."""

    def __init__(self, values: Any, origin: tuple[str, tuple[Any, ...]] | None = None, *, leaf: bool = False) -> None:
        self.values = np.asarray(values, dtype=object)
        self.origin, self.leaf = origin, leaf

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def requires_grad(self) -> bool:
        return self.leaf or self.origin is not None

    dtype = device = None

    def __getitem__(self, index: Any) -> Array:
        return Array(self.values[index])

    def __iter__(self) -> Iterator[Array]:
        return map(Array, self.values)

    def numel(self) -> int:
        return MANY if _many.get() else self.values.size

    def _with(self, other: Any, operation: Callable[[Any, Any], Any]) -> Array:
        return Array(operation(self.values, _raw(other)))

    def __add__(self, other: Any) -> Array:
        return self._with(other, lambda a, b: a + b)

    def __radd__(self, other: Any) -> Array:
        return self._with(other, lambda a, b: b + a)

    def __sub__(self, other: Any) -> Array:
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Array:
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Array:
        return self._with(other, lambda a, b: a * b)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Array:
        return self._with(other, lambda a, b: a / b)

    def __rtruediv__(self, other: Any) -> Array:
        return self._with(other, lambda a, b: b / a)

    def __neg__(self) -> Array:
        return Array(-self.values)

    def __pow__(self, exponent: int) -> Array:
        return Array(self.values**exponent)

    def __gt__(self, other: Any) -> np.ndarray[Any, Any]:
        return np.vectorize(_is_positive, otypes=[bool])(self.values)

    def sum(self, dim: int, keepdim: bool = False) -> Array:
        return Array(_reduced(self.values, dim, keepdim=keepdim))

    def mean(self, dim: int) -> Array:
        return self.sum(dim) / self.shape[dim]

    def square(self) -> Array:
        return self**2

    def expand(self, *shape: int) -> Array:
        full = [size if size >= 0 else self.shape[-1] for size in shape]
        return Array(np.broadcast_to(self.values, full), leaf=self.leaf)

    def detach(self) -> Array:
        return Array(self.values)

    def requires_grad_(self) -> Array:
        return Array(self.values, leaf=True)


def _raw(value: Any) -> Any:
    """The values as an array of terms; a number that is no simple fraction is a symbol of its own."""
    if isinstance(value, Array):
        return value.values
    if isinstance(value, float):
        exact = Fraction(value)
        value = Number(exact) if exact.denominator <= 64 else Symbol(f"float {value!r}")
    return np.asarray(lift(value), dtype=object) if isinstance(value, (int, Term)) else value


def _is_positive(entry: Term) -> bool:
    if not isinstance(entry, Number):
        message = "a comparison of a term without a value"
        raise NotReadable(message)
    return entry.value > 0


def _reduced(values: Any, dim: int, *, keepdim: bool) -> Any:
    total = np.apply_along_axis(lambda column: np.array(reduce(add, column), dtype=object), dim, values)
    return np.expand_dims(total, dim) if keepdim else total


def _each(function: Callable[[Term], Term]) -> Callable[[Any], Array]:
    return lambda x: Array(np.vectorize(function, otypes=[object])(_raw(x)))


def _softmax(x: Array, dim: int) -> Array:
    grown = np.vectorize(Exp, otypes=[object])(x.values)
    return Array(grown / _reduced(grown, dim, keepdim=True))


def _where(condition: Any, yes: Any, no: Any) -> Array:
    shape = np.broadcast_shapes(np.shape(condition), np.shape(_raw(yes)), np.shape(_raw(no)))
    sides = (np.broadcast_to(_raw(side), shape) for side in (yes, no))
    return Array(np.where(condition, *sides))


def _lerp(start: Array, end: Array, weight: Array) -> Array:
    """By its definition; the ends at 0 and 1."""
    bits = {Number(0): start, Number(1): end}  # type: ignore[arg-type]
    if all(entry in bits for entry in weight.values.ravel()):
        return _where(weight > 0, end, start)
    return start + weight * (end - start)


def _grad(y: Array, x: Array, *_: Any, **__: Any) -> tuple[Array]:
    if y.origin is None:
        message = "a gradient of what does not depend on x"
        raise NotReadable(message)
    name, entries = y.origin
    rows = np.empty(x.shape, dtype=object)
    for place in np.ndindex(x.shape):
        rows[place] = Function(f"d{place[-1]} {name}")(*entries[place[:-1]])
    return (Array(rows),)


_TORCH = SimpleNamespace(
    no_grad=lambda: lambda function: function,
    enable_grad=nullcontext,
    sigmoid=_each(Sigmoid),
    exp=_each(Exp),
    log=_each(Log),
    log1p=_each(lambda x: Log(1 + x)),
    logit=_each(lambda x: Log(x) - Log(1 - x)),
    logaddexp=lambda a, b: _each(Log)(_each(Exp)(a) + _each(Exp)(b)),
    softmax=_softmax,
    log_softmax=lambda x, dim: x - _each(Log)(Array(_reduced(np.vectorize(Exp, otypes=[object])(x.values), dim, keepdim=True))),
    logsumexp=lambda x, dim: _each(Log)(_each(Exp)(x).sum(dim)),
    stack=lambda parts: Array(np.stack([part.values for part in parts])),
    where=_where,
    lerp=_lerp,
    zeros_like=lambda x: Array(np.full(x.shape, lift(0), dtype=object)),
    ones_like=lambda x: Array(np.full(x.shape, lift(1), dtype=object)),
    autograd=SimpleNamespace(grad=_grad),
    compiler=SimpleNamespace(is_compiling=lambda: False),
    _C=SimpleNamespace(_functorch=SimpleNamespace(maybe_current_level=lambda: None)),
)


def _log(value: float) -> Array:
    return Array(Log(lift(value)) if isinstance(value, int) else Symbol(f"log {value!r}"))


_MATH = SimpleNamespace(log=_log, pi=math.pi)


def _function(name: str) -> Callable[..., Array]:
    """A function of outcomes (..., n), of any other arguments too: an unknown with a name."""

    def apply(*args: Any) -> Array:
        arrays = [np.asarray(_raw(arg), dtype=object) for arg in args]
        lead = np.broadcast_shapes(*(array.shape[:-1] for array in arrays))
        entries = np.empty(lead, dtype=object)
        for place in np.ndindex(*lead):
            entries[place] = tuple(term for array in arrays for term in np.broadcast_to(array, (*lead, array.shape[-1]))[place])
        values = np.empty(lead, dtype=object)
        for place in np.ndindex(*lead):
            values[place] = Function(name)(*entries[place])
        live = any(isinstance(arg, Array) and arg.requires_grad for arg in args)
        return Array(values, (name, entries) if live else None)

    return apply


def estimate(
    source: str, generated: Generated, n: int, outcomes: Mapping[str, tuple[int, ...]], reflected: str = ""
) -> list[Term]:
    """Return the estimate as terms, one for each coordinate, at given outcomes of the draws that have outcomes.

    What a threshold is applied to comes after them. A `reflected` noise u is replaced by 1 - u, which has the same law.

    Raises
        NotReadable, if the code cannot be run on symbols, or does something else where numbers are many.
    """
    found = _terms(source, generated, n, outcomes, reflected)
    if ".numel()" in source:
        token = _many.set(True)
        try:
            other = _terms(source, generated, n, outcomes, reflected)
        finally:
            _many.reset(token)
        if found != other:
            message = "few numbers and many are not computed alike"
            raise NotReadable(message)
    return found


def _terms(
    source: str, generated: Generated, n: int, outcomes: Mapping[str, tuple[int, ...]], reflected: str
) -> list[Term]:
    module: dict[str, Any] = {"torch": _TORCH, "math": _MATH, "logsigmoid": _each(lambda x: Log(Sigmoid(x)))}
    tree = ast.parse(source)
    kept = [part for part in tree.body if isinstance(part, ast.FunctionDef) and part.name != "draw"]
    decided, thresholded = _decided(kept), list[Term]()

    def decide(z: Array) -> Array:
        thresholded.extend(z.values.ravel())
        return Array([lift(k) for k in outcomes["decided"]])

    module["decide"] = decide
    try:
        exec(compile(ast.Module(decided, []), "<mutant>", "exec"), module)  # noqa: S102, generated code and its mutants
        if "every_outcome" in module:
            module["every_outcome"] = lambda *_: _every(n, generated.family)
        found = module["estimate"](*_arguments(generated, n, outcomes, reflected))(**_keywords(generated, n))
    except NotReadable:
        raise
    except Exception as error:
        raise NotReadable(repr(error)) from error
    parts = list(found.values()) if isinstance(found, dict) else [found]
    return [*(term for part in parts for term in np.atleast_1d(part.values).ravel()), *thresholded]


def _decided(functions: list[ast.FunctionDef]) -> list[ast.stmt]:
    """A statement that thresholds z gets the given outcome, and says what z is."""
    for function in functions:
        for i, statement in enumerate(function.body):
            for node in ast.walk(statement):
                z = _thresholded(node)
                if z is not None and isinstance(statement, ast.Assign):
                    function.body[i] = ast.parse(f"{ast.unparse(statement.targets[0])} = decide({ast.unparse(z)})").body[0]
    estimating = next(function for function in functions if function.name == "estimate")
    estimating.name = "_estimate"
    wrapper = ast.parse("def estimate(*args):\n    return lambda **keywords: _estimate(*args, **keywords)").body
    return [ast.fix_missing_locations(part) for part in [*functions, *wrapper]]


def _thresholded(node: ast.AST) -> ast.expr | None:
    match node:
        case ast.Compare(z, [ast.GtE()], [ast.Constant(0)]):
            return z
        case ast.Call(ast.Attribute(z, "argmax")):
            return z
    return None


def _vector(name: str, n: int) -> Array:
    return Array([Symbol(f"{name}{i}") for i in range(n)])


def _arguments(generated: Generated, n: int, outcomes: Mapping[str, tuple[int, ...]], reflected: str) -> list[Any]:
    normal = generated.family == "normal"
    params: Any = {name: _vector(name, n) for name in ("loc", "log_scale")} if normal else _vector("logits", n)
    noise = {name: 1 - _vector(name, n) if name == reflected else _vector(name, n) for name in generated.noise}
    noise |= {name: Array([lift(k) for k in outcome]) for name, outcome in outcomes.items()}
    return [params, noise, *(_function(name) for name in generated.functions[:1])]


def _keywords(generated: Generated, n: int) -> dict[str, Any]:
    functions = {name: _function(name) for name in generated.functions[1:]}
    return functions | {name: _constant(name, kind, generated, n) for name, kind in generated.kinds.items()}


def _constant(name: str, kind: Kind, generated: Generated, n: int) -> Array:
    """A number; a vector; or, where the estimate is a derivative by it, a vector of one number."""
    if kind in {Kind.VECTOR, Kind.ANYTHING}:
        return _vector(name, n)
    return _vector(name, 1) if name == generated.parameter else Array(Symbol(name))


def possible(n: int, family: str) -> list[tuple[int, ...]]:
    """The outcomes of one draw: n bits, or a one-hot class of n."""
    if family == "categorical":
        return [tuple(int(i == k) for i in range(n)) for k in range(n)]
    return list(product((0, 1), repeat=n))


def _every(n: int, family: str) -> Array:
    return Array([[lift(k) for k in outcome] for outcome in possible(n, family)])


def _cases(generated: Generated, n: int) -> Iterator[dict[str, tuple[int, ...]]]:
    """Every outcome of the draws; one outcome too for noise that is thresholded."""
    if generated.family == "normal":
        yield {}
        return
    discrete = [name for name in generated.noise if name not in {"u", "v"}] or ["decided"]
    for chosen in product(possible(n, generated.family), repeat=len(discrete)):
        yield dict(zip(discrete, chosen, strict=True))


def identical(left: str, right: str, generated: Generated, sizes: tuple[int, ...], reflected: str = "") -> bool:
    """Whether two sources compute the same estimate for every outcome, all logits, noise, constants and functions.

    With `reflected` the noise u of that name is 1 - u on the right.

    Raises
        NotReadable, if one of them cannot be run on symbols.
    """
    for n in sizes:
        for outcomes in _cases(generated, n):
            one, other = estimate(left, generated, n, outcomes), estimate(right, generated, n, outcomes, reflected)
            if one != other and (len(one) != len(other) or not all(map(equal, one, other))):
                return False
    return True


def constant(generated: Generated, n: int) -> bool:
    """Whether the estimate is the same at every outcome of the draws."""
    first, *others = (estimate(generated.source, generated, n, outcomes) for outcomes in _cases(generated, n))
    return all(equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def constant_difference(left: str, right: str, generated: Generated, sizes: tuple[int, ...]) -> bool:
    """Whether the difference of two estimates is the same at every outcome, and for all noise.

    Raises
        NotReadable, if one of them cannot be run on symbols.
    """
    for n in sizes:
        other_noise = {Symbol(f"{name}{i}"): Symbol(f"other {name}{i}") for name in generated.noise for i in range(n)}
        gaps = []
        for outcomes in _cases(generated, n):
            pair = zip(*(estimate(source, generated, n, outcomes) for source in (left, right)), strict=True)
            gaps.append([one - other for one, other in pair])
        moved = [[substitute(gap, other_noise) for gap in case] for case in gaps]
        if not all(equal(gap, first) for case in (*gaps, *moved) for gap, first in zip(case, gaps[0], strict=True)):
            return False
    return True


def same_mean(left: str, right: str, generated: Generated, sizes: tuple[int, ...]) -> bool:
    """Whether two sources have the same mean, for all logits, constants and functions; of draws with outcomes only.

    Raises
        NotReadable, if there is other noise, or one of them cannot be run on symbols.
    """
    if generated.family == "normal" or {"u", "v"} & set(generated.noise):
        message = "a mean over continuous noise"
        raise NotReadable(message)
    for n in sizes:
        difference: list[Term] = []
        for outcomes in _cases(generated, n):
            weight = reduce(lambda a, b: a * b, (_probability(one, generated.family) for one in outcomes.values()))
            pair = zip(*(estimate(source, generated, n, outcomes) for source in (left, right)), strict=True)
            gaps = [weight * (one - other) for one, other in pair]
            difference = [a + b for a, b in zip(difference, gaps, strict=True)] if difference else gaps
        if not all(equal(gap, lift(0)) for gap in difference):
            return False
    return True


def _probability(outcome: tuple[int, ...], family: str) -> Term:
    logits = _vector("logits", len(outcome))
    if family == "categorical":
        term: Term = _softmax(logits, -1).values[outcome.index(1)]
        return term
    bits = [Sigmoid(logit) if bit else Sigmoid(-logit) for bit, logit in zip(outcome, logits.values, strict=True)]
    return reduce(lambda a, b: a * b, bits)
