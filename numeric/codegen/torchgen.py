"""From a formula to readable torch source, by walking its tree; this file does not import torch.

The generated module has two functions. `draw` samples the noise; `estimate` computes the formula from it. Scores, relaxations
and their derivatives are printed symbolically, in a form that is stable for logits far from zero; autograd differentiates the
user's functions and nothing else.

A formula is a scalar for one coordinate theta of the parameters. Its tensors have one of three shapes: a number, one number for
each batch element (`f(b)`), or one for each coordinate (`score(b)`); a batch tensor is written `x[..., None]` where it meets a
coordinate tensor. The arguments of functions (`b`, `z`, `sigma(z, lambda)`) are whole events.

Where a formula uses b as a number (`slope * b`, the mean E(b, b)), it is about one bit; of n bits, b is a vector, a constant
times it is their inner product, and the constant may be a vector of n entries. A one-hot class and a normal vector are treated
in the same way. A constant that stands beside values of f, such as a baseline, may have one entry for each batch element.

Where the target is differentiated by a constant, and the formula has scores or gradients by theta, as that of a variance has,
the estimate is the sum over the coordinates theta (`numeric.codegen.backward`); the user's functions are differentiated twice
there.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from textwrap import wrap

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.scope import depends
from derive.language.term import (
    Apply,
    Function,
    NormalLaw,
    Number,
    RandomVariable,
    Symbol,
    UniformLaw,
)
from numeric.codegen.backward import SLOPE_GRADIENT, Backward
from numeric.codegen.expressions import Code, Kind, Level, Names, Shape, checked_identifier, layout, number
from numeric.codegen.families import Family, family_of
from numeric.codegen.inventory import constants_of, functions_of, law_parameter, laws_of, refuse_what_is_not_drawn
from numeric.codegen.walk import sum_of

DEFAULTS = {"c": 0.0, "eta": 1.0, "lambda_": 0.5}
LINE = 120

VALUE_AND_GRADIENT = '''
def value_and_gradient(f, x):
    """Return f(x), shape (*batch), and its derivative at x, shape (*batch, n)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        y = f(x)
    if not y.requires_grad:
        return y, torch.zeros_like(x)
    (dy,) = torch.autograd.grad(y, x, torch.ones_like(y), materialize_grads=True)
    return y.detach(), dy
'''


@dataclass(frozen=True)
class Generated:
    """Generated source and what a caller must pass to it.

    Args
        source      the text of a module that needs torch only
        family      the name of the family
        functions   the user's functions as they are called in the source; the first one is the objective f
        symbols     the free constants, each with its default, or None where the caller must give a value
        kinds       what the value of each constant may be
        baselines   the functions that are applied to constants only
        fixed       which arguments of which functions are constants, (name, position)
        parameter   the constant that the target is differentiated by, or None: by the parameters of the family
        names       the name in the source of each function and constant of the formula
        noise       the keys of the dictionary that `draw` returns
        enumerates  whether `estimate` runs over every outcome, for an expectation inside the formula
    """

    source: str
    family: str
    functions: tuple[str, ...]
    symbols: tuple[tuple[str, float | None], ...]
    kinds: dict[str, Kind]
    baselines: frozenset[str]
    fixed: frozenset[tuple[str, int]]
    parameter: str | None
    names: dict[Function | Symbol, str]
    noise: tuple[str, ...]
    enumerates: bool


def natural_family(estimator: Estimator) -> str:
    """Return the family that is meant where none is named: normal for a normal law, else Bernoulli.

    >>> from derive.catalogue import catalogue
    >>> natural_family(catalogue["pathwise"]), natural_family(catalogue["rebar"])
    ('normal', 'bernoulli')
    """
    theta = law_parameter(estimator)
    normal = any(isinstance(law, NormalLaw) and depends(law.loc + law.scale, theta) for law in laws_of(estimator))
    return "normal" if normal else "bernoulli"


def usual_families(estimator: Estimator) -> tuple[str, ...]:
    """Return the families that an estimator is about: normal for a normal law, else those of discrete variables.

    >>> from derive.catalogue import catalogue
    >>> usual_families(catalogue["vimco"])
    ('bernoulli', 'categorical')
    """
    return ("normal",) if natural_family(estimator) == "normal" else ("bernoulli", "categorical")


def generate(estimator: Estimator, family: str | None = None) -> Generated:
    """Turn the formula of an estimator into torch source for a family, by default the natural one.

    Raises
        UsageError, if the formula cannot be run in the family, or one of its names is no identifier.
        UnknownNode, if it holds a node that the generator does not know.

    >>> from derive.catalogue import catalogue
    >>> generate(catalogue["constant-baseline"]).symbols
    (('c', 0.0),)
    """
    refuse_what_is_not_drawn(estimator)
    family = family or natural_family(estimator)
    law = family_of(family)
    walk, estimates = _walk_twice(estimator, law)
    users, constants, names = _users(estimator, walk), constants_of(estimator), walk.write.names
    functions, symbols = tuple(map(names.of, users)), _signature_symbols(estimator, names)
    blocks = [_header(estimator, law), *_helpers(walk)]
    blocks += [_draw_source(estimator, walk), _estimate_source(estimator, walk, estimates, functions, symbols)]
    return Generated(
        source=_with_imports("\n\n\n".join(block.strip("\n") for block in blocks) + "\n"),
        family=family,
        functions=functions,
        symbols=symbols,
        kinds={names.of(symbol): walk.kinds.get(symbol, Kind.UNUSED) for symbol in constants},
        baselines=frozenset(walk.baselines),
        fixed=frozenset(walk.fixed),
        parameter=None if walk.theta == walk.law_parameter else names.of(walk.theta),
        names={function: names.of(function) for function in users} | {symbol: names.of(symbol) for symbol in constants},
        noise=tuple(map(names.of, estimator.draws)),
        enumerates=walk.enumerates,
    )


def emit(estimator: Estimator, family: str | None = None) -> str:
    """Return the torch source of an estimator, a module with `draw` and `estimate`.

    Raises
        UsageError, UnknownNode, as `generate`.

    >>> from derive.catalogue import catalogue
    >>> emit(catalogue["score-function"]).splitlines()[-1].strip()
    'return f_b[..., None] * score_b'
    """
    return generate(estimator, family).source


def _walk_twice(estimator: Estimator, family: Family) -> tuple[Backward, list[Code]]:
    """Walk once to learn which function values are differentiated too, and again to compute both of them in one call."""
    wanted: frozenset[str] = frozenset()
    for _ in range(2):
        names = Names()
        _reserve(estimator, names)
        walk = Backward(estimator, family, names, wanted)
        estimates = [_at(walk, parameter) for parameter in walk.parameters]
        wanted = frozenset(walk.differentiated)
    return walk, estimates


def _reserve(estimator: Estimator, names: Names) -> None:
    """Name the draws, functions and constants before anything else, so that they keep their own names."""
    seen = [draw.name for draw in estimator.draws]
    if len(set(seen)) < len(seen):
        message = f"two draws of {estimator.name!r} have the same name: {', '.join(seen)}."
        raise UsageError(message)
    functions = [*functions_of(estimator.objective), *functions_of(estimator.formula)]
    things: list[Function | Symbol | RandomVariable] = [*estimator.draws, *functions, *constants_of(estimator)]
    for thing in things:
        names.of(thing)
    for name, _ in estimator.where:
        checked_identifier(name)


def _at(walk: Backward, parameter: str) -> Code:
    """The formula for one parameter, broadcast over its coordinates and the samples where it is the same for all of them."""
    code = _total(walk) if walk.summed else _value(walk, parameter)
    drawn = {walk.write.names.of(draw) for draw in walk.estimator.draws}
    if not _reaches(code.text, walk.write.lines, drawn):
        first = walk.write.names.of(walk.estimator.draws[0])
        last = f"[..., :1] * torch.zeros_like({parameter})" if parameter not in walk.family.parameters else ""
        return _broadcast(code, f"torch.zeros_like({first}){last}")
    return code if code.shape is Shape.COORDINATE else _broadcast(code, f"torch.zeros_like({parameter})")


def _value(walk: Backward, parameter: str) -> Code:
    walk.wrt = parameter
    return walk.value(walk.estimator.formula)


def _total(walk: Backward) -> Code:
    """The sum over the coordinates of every parameter of the family."""
    totals = []
    for parameter in walk.family.parameters:
        walk.wrt = parameter
        totals.append(walk.total(walk.estimator.formula))
    return sum_of(totals) or number(Fraction(0))


def _broadcast(code: Code, zeros: str) -> Code:
    if code.text == "0":
        return Code(zeros, Shape.COORDINATE)
    return Code(f"{code.lifted(Shape.COORDINATE, Level.PRODUCT)} + {zeros}", Shape.COORDINATE, Level.SUM)


def _reaches(text: str, lines: list[str], drawn: set[str]) -> bool:
    """Whether a draw has a part in the value of an expression, through the statements before it."""
    from_draws = set(drawn)
    for line in lines:
        names, _, right = line.partition(" = ")
        if any(_mentions(right, name) for name in from_draws):
            from_draws |= set(names.split(", "))
    return any(_mentions(text, name) for name in from_draws)


def _users(estimator: Estimator, walk: Backward) -> list[Function]:
    """The user's functions, those of the objective first."""
    every = [*functions_of(estimator.objective), *functions_of(estimator.formula)]
    return [function for function in dict.fromkeys(every) if not any(term.function == function for term in _maps(walk))]


def _maps(walk: Backward) -> list[Apply]:
    return [term for term in walk.location if isinstance(term, Apply)]


def _signature_symbols(estimator: Estimator, names: Names) -> tuple[tuple[str, float | None], ...]:
    symbols = {names.of(symbol): symbol for symbol in constants_of(estimator)}
    defaults = {name: None if symbol == estimator.parameter else DEFAULTS.get(name) for name, symbol in symbols.items()}
    return tuple(sorted(defaults.items(), key=lambda item: item[1] is not None))


def _header(estimator: Estimator, family: Family) -> str:
    lines = [f"{_plain(estimator.name)}, {family.name} family."]
    lines += ["", *wrap(_plain(estimator.summary), LINE)] if estimator.summary else []
    lines += ["", f"Source: {_plain(estimator.source)}."] if estimator.source else []
    text = "\n".join([*lines, "", f"{family.shapes}."])
    return f'"""{text}\n"""\n\nIMPORTS'


def _plain(text: str) -> str:
    """A user's text made harmless inside a docstring: one line, no quotes, no backslashes."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())


def _with_imports(source: str) -> str:
    lines = ["import math\n" if "math." in source else "", "import torch"]
    if "logsigmoid(" in source:
        lines.append("\nfrom torch.nn.functional import logsigmoid")
    return source.replace("IMPORTS", "\n".join(lines).replace("\n\n", "\n").strip(), 1)


def _helpers(walk: Backward) -> list[str]:
    helpers = [VALUE_AND_GRADIENT] if walk.differentiated else []
    helpers += [SLOPE_GRADIENT] if walk.differentiates_twice else []
    return helpers + ([walk.family.every_outcome] if walk.enumerates else [])


def _draw_source(estimator: Estimator, walk: Backward) -> str:
    family = walk.family
    lines = ["@torch.no_grad()", f"def draw({family.argument}, generator=None, sample_shape=()):"]
    lines.append('    """Sample the noise, each entry of shape (*sample_shape, *batch, n)."""')
    lines += [f"    {line}" for line in family.unpack()]
    first = family.parameters[0]
    lines.append(f"    shape = (*sample_shape, *{first}.shape)")
    if any(isinstance(draw.law, UniformLaw) for draw in estimator.draws):
        lines.append(f"    eps = torch.finfo({first}.dtype).eps")
    for draw in estimator.draws:
        *before, last = _draw_text(draw, walk, first)
        lines += [f"    {line}" for line in before] + [f"    {walk.write.names.of(draw)} = {last}"]
    entries = ", ".join(f'"{name}": {name}' for name in (walk.write.names.of(draw) for draw in estimator.draws))
    return "\n".join([*lines, *(f"    {line}" for line in _wrapped(f"return {{{entries}}}"))])


def _draw_text(draw: RandomVariable, walk: Backward, first: str) -> list[str]:
    """The statements that sample one draw; a uniform stays inside its open interval."""
    like = f"generator=generator, dtype={first}.dtype, device={first}.device"
    match draw.law:
        case UniformLaw(Number(low), Number(high)):
            text = f"torch.rand(shape, {like}).clamp(eps, 1 - eps)"
            return [text if (low == 0 and high == 1) else f"{number(low).text} + {number(high - low).text} * {text}"]
        case NormalLaw(Number(loc), Number(scale)):
            text = f"torch.randn(shape, {like})"
            return [text if (loc == 0 and scale == 1) else f"{number(loc).text} + {number(scale).text} * {text}"]
    walk._check_law(draw.law)
    return walk.family.draw("shape")


def _estimate_source(
    estimator: Estimator,
    walk: Backward,
    estimates: list[Code],
    functions: tuple[str, ...],
    symbols: tuple[tuple[str, float | None], ...],
) -> str:
    keywords = [*functions[1:], *(name if default is None else f"{name}={default}" for name, default in symbols)]
    arguments = [walk.family.argument, "noise", *functions[:1], *(["*", *keywords] if keywords else [])]
    lines = ["@torch.no_grad()", *_wrapped(f"def estimate({', '.join(arguments)}):")]
    lines += [f"    {line}" for line in _docstring(walk)]
    lines += [f"    {line}" for line in walk.family.unpack()]
    drawn = [walk.write.names.of(draw) for draw in estimator.draws]
    used = [name for name in drawn if any(_mentions(text, name) for text in [*walk.write.lines, *(e.text for e in estimates)])]
    if used:
        entries = ", ".join(f'noise["{name}"]' for name in used)
        lines += [f"    {line}" for line in _wrapped(f"{', '.join(used)} = {entries}")]
    lines += [f"    {part}" for line in walk.write.lines for part in _wrapped(line)]
    return "\n".join([*lines, *(f"    {line}" for line in _returns(walk.parameters, estimates))])


def _docstring(walk: Backward) -> list[str]:
    """What the shapes are."""
    own = "*batch, n" if walk.theta == walk.law_parameter else f"*{walk.parameters[0]}.shape"
    shape = f"(*sample_shape, {own})"
    maps = "functions map (..., n) to (...)" if walk.applied else ""
    names = ", ".join(sorted(walk.baselines))
    fixed = f"{names} give{'' if ',' in names else 's'} one value for each batch element" if names else ""
    lines = [f'"""{"; ".join(filter(None, [f"The estimate, shape {shape}", maps, fixed]))}."""']
    return lines if len(lines[0]) + 4 <= LINE else [*wrap(lines[0][:-3], LINE - 4), '"""']


def _returns(parameters: tuple[str, ...], estimates: list[Code]) -> list[str]:
    if len(estimates) == 1:
        return _wrapped(f"return {estimates[0].text}")
    named = list(zip(parameters, estimates, strict=True))
    lines = [line for name, code in named for line in _wrapped(f"d_{name} = {code.text}")]
    entries = ", ".join(f'"{name}": d_{name}' for name in parameters)
    return [*lines, *_wrapped(f"return {{{entries}}}")]


def _wrapped(line: str) -> list[str]:
    """A statement, on several lines where it is too long for one."""
    if len(line) + 4 <= LINE:
        return [line]
    if line.startswith("def "):
        return layout(line, 0, LINE)
    start = "return " if line.startswith("return ") else line[: line.index(" = ") + 3]
    return [f"{start}(", *layout(line[len(start) :], 4, LINE - 4), ")"]


def _mentions(text: str, name: str) -> bool:
    """Whether a name occurs in the text as a whole word."""
    words = "".join(char if char.isalnum() or char == "_" else " " for char in text).split()
    return name in words
