"""From a formula to readable torch source, by walking its tree; this file does not import torch.

The generated module has two functions. `draw` samples the noise; `estimate` computes the formula from it. Scores, relaxations
and their derivatives are printed symbolically, in a form that is stable for logits far from zero; autograd differentiates the
user's functions and nothing else.

A formula is a scalar for one coordinate theta of the parameters. Its tensors have one of three shapes: a number, one number for
each batch element (`f(b)`), or one for each coordinate (`score(b)`); a batch tensor is written `x[..., None]` where it meets a
coordinate tensor. The arguments of functions (`b`, `z`, `sigma(z, lambda)`) are whole events.

Where a formula uses b as a number (`slope * b`, the mean E(b, b)), it is about one bit; of n bits, b is a vector, a constant
times it is their inner product, and the constant may be a vector of n entries. So is the product of two vectors, and that of a
vector and a function which is nowhere used as a number, as the slope df(b): it maps (..., n) to (..., n)
(`numeric.codegen.meaning.vectors`). So is f.slope(x), the gradient of f; of f.slope.slope(x), the matrix of second derivatives,
there is the product with two vectors, such as b - m, and with the derivative of a diagonal covariance. A one-hot class and a
normal vector are treated in the same way. A constant that stands beside values of f, such as a baseline, may have one entry for
each batch element.

Where the target is a second derivative, grad(grad(..., theta), theta), the formula is a square in the step that theta takes,
and the estimate the symmetric matrix of that square, shape (*batch, n, n): of loc and log_scale, and of several laws, it is a
dictionary of dictionaries of matrices, one for each pair. A constant v of grad(v * grad(..., theta), theta) is a vector
(*batch, n), and the estimate the product of the matrix with v, shape (*batch, n). torch differentiates the printed first
derivative there (`numeric.codegen.curvature`). A target that is no square, such as a gradient over a Fisher information, is one
for each coordinate by itself.

Where the target is differentiated by a constant, and the formula has scores or gradients by theta, as that of a variance has,
the estimate is the sum over the coordinates theta (`numeric.codegen.backward`); the user's functions are differentiated twice
there.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement
from textwrap import wrap

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.scope import depends, free
from derive.language.term import (
    Apply,
    DensityLaw,
    FiniteLaw,
    Function,
    NormalLaw,
    Power,
    RandomVariable,
    Symbol,
    Term,
    subterms,
)
from numeric.codegen.curvature import Curvature
from numeric.codegen.expressions import (
    LINE,
    Code,
    Kind,
    Level,
    Names,
    Shape,
    checked_identifier,
    coordinate,
    mentions,
    number,
    sides,
    wrapped,
)
from numeric.codegen.families import Family, Vector, family_of
from numeric.codegen.inventory import constants_of, functions_of, is_coordinatewise, law_parameter
from numeric.codegen.laws import Logits, laws_of, positives_of, probabilities_of, taken_at, unstopped
from numeric.codegen.meaning.instances import in_family, mean_alone
from numeric.codegen.statements.calls import calls_in, joined, spread
from numeric.codegen.statements.draw_source import draw_groups, draw_source, drawn_with
from numeric.codegen.statements.module_source import header, helpers_of, with_imports
from numeric.codegen.statements.samples import side_by_side
from numeric.codegen.walk import sum_of

DEFAULTS = {"c": 0.0, "eta": 1.0, "lambda_": 0.5}

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
        laws        the finite laws whose logits are given by name; none where there is one law, whose logits are given alone
        gives       with laws by name: the names of all tensors that are given
        coordinatewise  whether a parameter that is a vector may have more than one entry
        drawn_with  the constants that `draw` takes, as keyword arguments
        sizes       with laws by name: for each noise, the name of the tensor whose last dimension it has
        location    with laws by name: the laws whose outcomes loc and log_scale have rows for
        alike       the pairs of names of which one law is taken at an outcome of the other
        vectors     the functions that give a vector, (..., n) to (..., n), as the slope df(b) beside a vector
        order       2 where the estimate is a matrix of second derivatives, else 1
        positives   what must be positive, terms in the parameter and constants, so that laws with names are laws
        probabilities  what must not be negative, so that explicit finite laws are laws
        theta       the name in the formula of what the first tensor stands for
        rowwise     whether rows of the batch can be computed one after the other, each with the noise that it has in all
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
    laws: tuple[Logits, ...] = ()
    gives: tuple[str, ...] = ()
    coordinatewise: bool = True
    drawn_with: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    location: tuple[tuple[str, tuple[FiniteLaw, ...]], ...] = ()
    alike: frozenset[tuple[str, str]] = frozenset()
    vectors: frozenset[str] = frozenset()
    order: int = 1
    rowwise: bool = False
    positives: tuple[Term, ...] = ()
    probabilities: tuple[Term, ...] = ()
    theta: str = ""


def natural_family(estimator: Estimator) -> str:
    """Return the family that is meant where none is named: of a normal law of mean mu(theta) normal, of a finite law Bernoulli.

    An abstract density is run as a normal law.

    Where no law has parameters but theta stands in the formula, as that of evolution strategies does, it is a vector, and so is
    the mean mu(theta) of a normal law whose scale does not move.

    >>> from derive.catalogue import catalogue
    >>> natural_family(catalogue["pathwise"]), natural_family(catalogue["rebar"])
    ('normal', 'bernoulli')
    """
    theta, laws = law_parameter(estimator), laws_of(estimator)
    if mean_alone(estimator) is not None:
        return "vector"
    if any((isinstance(law, NormalLaw) and _is_map(law.loc, theta)) or type(law) is DensityLaw for law in laws):
        return "normal"
    return "bernoulli" if any(isinstance(law, FiniteLaw) for law in laws) else "vector"


def _is_map(term: Term, theta: Symbol) -> bool:
    """Whether a term is a function of theta, such as mu(theta), and not theta as a vector."""
    inner = unstopped(term)
    return isinstance(inner, Apply) and depends(inner, theta)


def usual_families(estimator: Estimator) -> tuple[str, ...]:
    """Return the families that an estimator is about: those of discrete variables where there are any.

    >>> from derive.catalogue import catalogue
    >>> usual_families(catalogue["vimco"])
    ('bernoulli', 'categorical')
    """
    natural = natural_family(estimator)
    return (natural,) if natural in {"normal", "vector"} else ("bernoulli", "categorical")


def generate(estimator: Estimator, family: str | None = None) -> Generated:
    """Turn the formula of an estimator into torch source for a family, by default the natural one.

    Raises
        UsageError, if the formula cannot be run in the family, or one of its names is no identifier.
        UnknownNode, if it holds a node that the generator does not know.

    >>> from derive.catalogue import catalogue
    >>> generate(catalogue["constant-baseline"]).symbols
    (('c', 0.0),)
    """
    family = family or natural_family(estimator)
    law, given, estimator = family_of(family), estimator, in_family(estimator, family)
    walk, estimates = _walk_twice(estimator, law)
    users, constants, names = _users(estimator, walk), constants_of(estimator), walk.write.names
    functions, symbols = tuple(map(names.of, users)), _signature_symbols(estimator, names)
    statements = _statements(estimator, walk, estimates, functions)
    drawn = _walk(estimator, law)
    public = [draw_source(estimator, drawn)]
    public += [_estimate_source(estimator, walk, statements, estimates, functions, symbols)]
    calls = spread(calls_in(walk.write.lines, functions), walk.write.lines)
    blocks = [header(given, walk, calls), *helpers_of(walk, "\n".join(public)), *public]
    return Generated(
        source=with_imports("\n\n\n".join(block.strip("\n") for block in blocks) + "\n"),
        family=family,
        functions=functions,
        symbols=symbols,
        kinds={names.of(symbol): walk.kinds.get(symbol, drawn.kinds.get(symbol, Kind.UNUSED)) for symbol in constants},
        baselines=frozenset(walk.baselines),
        fixed=frozenset(walk.fixed),
        parameter=None if walk.theta == walk.law_parameter else names.of(walk.theta),
        names={function: names.of(function) for function in users} | {symbol: names.of(symbol) for symbol in constants},
        noise=tuple(map(names.of, estimator.draws)),
        enumerates=walk.enumerates,
        laws=walk.laws if walk.several else (),
        coordinatewise=walk.family.name != "vector" or is_coordinatewise(estimator),
        drawn_with=drawn_with(estimator, names),
        gives=tuple(map(walk.key, walk.tensors)) if walk.several else (),
        sizes=tuple(walk.key(walk.tensor_of(draw)) for draw in estimator.draws) if walk.several else (),
        location=tuple((name, walk.location.given(name)) for name in family_of(family).parameters) if walk.several else (),
        alike=_alike(estimator, walk) if walk.several else frozenset(),
        vectors=frozenset(walk.vector_valued),
        order=walk.order,
        rowwise=_is_rowwise(estimator, walk),
        positives=positives_of(estimator),
        probabilities=probabilities_of(estimator),
        theta=walk.law_parameter.name,
    )


def _is_rowwise(estimator: Estimator, walk: Curvature) -> bool:
    """Whether all noise is drawn together, and what the formula has beside it is one for all rows, or one for each."""
    twice = walk.order > 1 or walk.directions
    alone = walk.several or walk.baselines or walk.theta != walk.law_parameter or walk.family.name == "vector"
    return not (twice or alone) and len(draw_groups(estimator, walk)) == 1


def _alike(estimator: Estimator, walk: Curvature) -> frozenset[tuple[str, str]]:
    pairs = [(walk.logits.get(a), walk.logits.get(b)) for a, b in taken_at(estimator.formula)]
    return frozenset((walk.key(a), walk.key(b)) for a, b in pairs if a and b and a != b)


def emit(estimator: Estimator, family: str | None = None) -> str:
    """Return the torch source of an estimator, a module with `draw` and `estimate`.

    Raises
        UsageError, UnknownNode, as `generate`.

    >>> from derive.catalogue import catalogue
    >>> emit(catalogue["score-function"]).splitlines()[-1].strip()
    'return f_b[..., None] * score_b'
    """
    return generate(estimator, family).source


def _walk_twice(estimator: Estimator, family: Family) -> tuple[Curvature, list[Code]]:
    """Walk once to learn which function values are differentiated too, and again to compute both of them in one call."""
    wanted: frozenset[str] = frozenset()
    for _ in range(2):
        walk = _walk(estimator, family, wanted)
        estimates = _blocks(walk) if walk.order > 1 else [_at(walk, parameter) for parameter in walk.parameters]
        wanted = frozenset(walk.differentiated)
    return walk, estimates


def _walk(estimator: Estimator, family: Family, wanted: frozenset[str] = frozenset()) -> Curvature:
    names = Names()
    _reserve(estimator, names)
    if family.name == "vector":
        family = Vector(names.of(law_parameter(estimator)))
    return Curvature(estimator, family, names, wanted)


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


def _at(walk: Curvature, parameter: str) -> Code:
    """The formula for one parameter, broadcast over its coordinates and the samples where it is the same for all of them."""
    code = _total(walk) if walk.summed else _value(walk, parameter)
    drawn, entries = [walk.write.names.of(draw) for draw in walk.estimator.draws], walk.entries(parameter)
    if drawn and not _reaches(code.text, walk.write.lines, set(drawn)):
        own = parameter in walk.family.parameters and walk.dimensions(parameter) == 1
        last = "" if own else f"[..., :1] * torch.zeros_like({entries})"
        code = _broadcast(code, f"torch.zeros_like({drawn[0]}){last}")
    elif code.shape is not Shape.COORDINATE:
        code = _broadcast(code, f"torch.zeros_like({entries})")
    if (dimensions := walk.dimensions(parameter)) == 1:
        return code
    return Code(f"{code.at(Level.ATOM)}.unflatten(-1, {parameter}.shape[{-dimensions}:])", Shape.COORDINATE)


def _blocks(walk: Curvature) -> list[Code]:
    """The matrices of second derivatives by two parameters, those on and above the diagonal, row by row."""
    return [_block(walk, rows, columns) for rows, columns in combinations_with_replacement(walk.parameters, 2)]


def _block(walk: Curvature, rows: str, columns: str) -> Code:
    walk.wrt, walk.columns = rows, columns
    code = walk.matrix(walk.estimator.formula)
    drawn = [walk.write.names.of(draw) for draw in walk.estimator.draws]
    zeros = [f"torch.zeros_like({name}[..., :1, None])" for name in drawn[:1]]
    if code is None:
        product = f"torch.zeros_like({walk.entries(rows)}[..., :, None] * {walk.entries(columns)}[..., None, :])"
        return Code(" + ".join([product, *zeros]), Shape.MATRIX, Level.SUM)
    if not drawn or _reaches(code.text, walk.write.lines, set(drawn)):
        return code
    return Code(f"{code.text} + {zeros[0]}", Shape.MATRIX, Level.SUM)


def _value(walk: Curvature, parameter: str) -> Code:
    walk.wrt = parameter
    return side_by_side(walk) or walk.value(walk.estimator.formula)


def _total(walk: Curvature) -> Code:
    """The sum over the coordinates of every parameter of the family."""
    totals = []
    for parameter in walk.by_parameters:
        walk.wrt = parameter
        totals.append(walk.total(walk.estimator.formula))
    return sum_of(totals) or number(Fraction(0))


def _broadcast(code: Code, zeros: str) -> Code:
    if code.text == "0":
        return coordinate(zeros)
    return Code(f"{code.lifted(Shape.COORDINATE, Level.PRODUCT)} + {zeros}", Shape.COORDINATE, Level.SUM)


def _reaches(text: str, lines: list[str], drawn: set[str]) -> bool:
    """Whether a draw has a part in the value of an expression, through the statements before it."""
    from_draws = set(drawn)
    for line in lines:
        names, right = sides(line)
        if any(mentions(right, name) for name in from_draws):
            from_draws |= set(names)
    return any(mentions(text, name) for name in from_draws)


def _users(estimator: Estimator, walk: Curvature) -> list[Function]:
    """The user's functions, those of the objective first."""
    every = [*functions_of(estimator.objective), *functions_of(estimator.formula)]
    return [function for function in dict.fromkeys(every) if function not in walk.location.functions]


def _signature_symbols(estimator: Estimator, names: Names) -> tuple[tuple[str, float | None], ...]:
    symbols = {names.of(symbol): symbol for symbol in constants_of(estimator)}
    divisors = [part.base for part in subterms(estimator.formula) if isinstance(part, Power) and part.exponent < 0]
    needed = {estimator.parameter}.union(*map(free, divisors))
    defaults = {name: None if symbol in needed else DEFAULTS.get(name) for name, symbol in symbols.items()}
    return tuple(sorted(defaults.items(), key=lambda item: item[1] is not None))


def _estimate_source(
    estimator: Estimator,
    walk: Curvature,
    statements: list[str],
    estimates: list[Code],
    functions: tuple[str, ...],
    symbols: tuple[tuple[str, float | None], ...],
) -> str:
    keywords = [*functions[1:], *(name if default is None else f"{name}={default}" for name, default in symbols)]
    arguments = [walk.argument, "noise", *functions[:1], *(["*", *keywords] if keywords else [])]
    lines = ["@torch.no_grad()", *wrapped(f"def estimate({', '.join(arguments)}):")]
    lines += [f"    {line}" for line in _docstring(walk)]
    texts = [code.text for code in estimates]
    body = [part for line in statements for part in _spaced(line)] + _returns(walk, estimates)
    drawn = map(walk.write.names.of, estimator.draws)
    used = [name for name in drawn if any(mentions(line, name) for line in [*statements, *texts])]
    entries = ", ".join(f'noise["{name}"]' for name in used)
    noise = wrapped(f"{', '.join(used)} = {entries}") if used else []
    text = "\n".join([*lines, *(f"    {line}".rstrip() for line in [*walk.unpack([*body, *texts]), *noise, *body])])
    return text.replace("\n\n\n", "\n\n")


def _spaced(statement: str) -> list[str]:
    """The lines of a statement, with blank ones around a function."""
    return ["", *statement.splitlines(), ""] if statement.startswith("def ") else wrapped(statement)


def _statements(estimator: Estimator, walk: Curvature, estimates: list[Code], functions: tuple[str, ...]) -> list[str]:
    """The statements of `estimate` before its result."""
    if walk.several:
        return _needed(walk.write.lines, [code.text for code in estimates])
    return joined(walk.write.lines, functions, frozenset(map(walk.write.names.of, estimator.draws)))


def _needed(lines: list[str], texts: list[str]) -> list[str]:
    """The statements that have a part in the results: those for the logits of another law have none in these."""
    kept: list[str] = []
    for line in reversed(lines):
        names, _ = sides(line)
        if any(mentions(text, name) for text in [*texts, *kept] for name in names):
            kept.append(line)
    return kept[::-1]


def _docstring(walk: Curvature) -> list[str]:
    """What the shapes are."""
    own = "*batch, n" if walk.theta == walk.law_parameter else f"*{walk.parameters[0]}.shape"
    own = "*batch, ..., n" if any(walk.dimensions(parameter) > 1 for parameter in walk.parameters) else own
    own += f", {own.rpartition(', ')[2]}" if walk.order > 1 else ""
    shape = f"(*sample_shape, {own})" if walk.estimator.draws else f"({own})"
    maps = "functions map (..., n) to (...)" if walk.applied else ""
    maps += f", {' and '.join(sorted(walk.vector_valued))} to (..., n)" if walk.vector_valued else ""
    names = ", ".join(sorted(walk.baselines))
    fixed = f"{names} give{'' if ',' in names else 's'} one value for each batch element" if names else ""
    lines = [f'"""{"; ".join(filter(None, [f"The estimate, shape {shape}", maps, fixed]))}."""']
    return lines if len(lines[0]) + 4 <= LINE else [*wrap(lines[0][:-3], LINE - 4), '"""']


def _returns(walk: Curvature, estimates: list[Code]) -> list[str]:
    keys = [walk.key(parameter) for parameter in walk.parameters]
    if len(estimates) == 1 and not (walk.several and walk.theta == walk.law_parameter):
        return wrapped(f"return {estimates[0].text}")
    if walk.order > 1:
        return _returns_blocks(walk, keys, estimates)
    names = [walk.write.names.fresh(f"d_{key}") for key in keys]
    lines = [line for name, code in zip(names, estimates, strict=True) for line in wrapped(f"{name} = {code.text}")]
    entries = ", ".join(f'"{key}": {name}' for key, name in zip(keys, names, strict=True))
    return [*lines, *wrapped(f"return {{{entries}}}")]


def _returns_blocks(walk: Curvature, keys: list[str], estimates: list[Code]) -> list[str]:
    """A dictionary of dictionaries: the second derivatives by a parameter of a row and one of a column."""
    pairs = list(combinations_with_replacement(keys, 2))
    names = {pair: walk.write.names.fresh(f"d_{pair[0]}_{pair[1]}") for pair in pairs}
    lines = [line for pair, code in zip(pairs, estimates, strict=True) for line in wrapped(f"{names[pair]} = {code.text}")]
    blocks = names | {(b, a): f"{name}.mT" for (a, b), name in names.items() if a != b}
    rows = (f'"{a}": {{' + ", ".join(f'"{b}": {blocks[a, b]}' for b in keys) + "}" for a in keys)
    return [*lines, *wrapped(f"return {{{', '.join(rows)}}}")]
