"""Single mistakes in generated torch code, at every place of its syntax tree."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

UPDATE = 0.05

Edit = tuple[str, ast.AST]


@dataclass(frozen=True)
class CodeMutant:
    """A module with one mistake: `kind` is the mistake's, `change` says what became what, `function` where it is."""

    kind: str
    change: str
    function: str
    source: str


def mutants(source: str) -> Iterator[CodeMutant]:
    """Yield every single mistake of the list in `draw`, `estimate` and their helpers; the same source only once.

    The helper `bernoulli` has one way for few bits and one for many: a check comes to one of them, a test to both.

    >>> from numeric.codegen.torchgen import emit
    >>> from derive.catalogue import catalogue
    >>> [one.change for one in mutants(emit(catalogue["score-function"])) if one.kind == "drop a term"]
    ['b - p -> b', 'b - p -> -p']
    """
    module = ast.parse(source)
    seen = {ast.unparse(module)}
    for number, function in enumerate(module.body):
        if isinstance(function, ast.FunctionDef) and function.name != "bernoulli":
            for kind, change, mutated in _in_function(function):
                text = ast.unparse(ast.Module([*module.body[:number], mutated, *module.body[number + 1 :]], []))
                if text not in seen:
                    seen.add(text)
                    yield CodeMutant(kind, change, function.name, text)


def _in_function(function: ast.FunctionDef) -> Iterator[tuple[str, str, ast.FunctionDef]]:
    edits = _of_draws if function.name == "draw" else _of_estimate
    for path, node in _places(function):
        for kind, new in edits(node, path, function):
            yield kind, f"{_short(node)} -> {_short(new)}", _replaced(function, path, new)
    for i, decorator in enumerate(function.decorator_list):
        bare = copy.deepcopy(function)
        del bare.decorator_list[i]
        yield "un-detach", f"@{ast.unparse(decorator)} -> nothing", bare


Path = tuple[tuple[str, int | None], ...]


def _places(node: ast.AST, path: Path = ()) -> Iterator[tuple[Path, ast.AST]]:
    """Every expression and statement of the body with its path, in the order of the text.

    What runs under torch.compile and torch.func only is left out: no check of a mean comes there.
    """
    if isinstance(node, ast.If) and ast.unparse(node.test).startswith("torch.compiler.is_compiling()"):
        return
    yield path, node
    for name, value in ast.iter_fields(node):
        if name in {"decorator_list", "args"} and isinstance(node, ast.FunctionDef):
            continue
        for i, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST):
                yield from _places(child, (*path, (name, i)))


def _replaced(function: ast.FunctionDef, path: Path, new: ast.AST) -> ast.FunctionDef:
    changed = copy.deepcopy(function)
    place: ast.AST = changed
    for name, i in path[:-1]:
        place = getattr(place, name) if i is None else getattr(place, name)[i]
    name, i = path[-1]
    if i is None:
        setattr(place, name, new)
    else:
        getattr(place, name)[i] = new
    return changed


def _short(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


# The list


def _of_estimate(node: ast.AST, path: Path, function: ast.FunctionDef) -> Iterator[Edit]:
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub(), right) if not _is_shape(right):
            yield from _in_sum(node, left, right)
        case ast.BinOp(left, ast.Mult() | ast.Div(), right):
            yield from _in_product(node, left, right)
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Constant):
            yield "flip a sign", operand
        case ast.Return(ast.Dict() as entries):
            for i, value in enumerate(entries.values):
                flipped = copy.deepcopy(entries)
                flipped.values[i] = _negative(value)
                yield "flip a sign", ast.Return(flipped)
        case ast.Return(value) if value is not None and not isinstance(value, ast.Tuple):
            yield "flip a sign", ast.Return(_negative(value))
        case ast.Subscript(value, slice) if isinstance(slice, ast.Tuple) and isinstance(value, ast.BinOp):
            yield from (("updated baseline", ast.Subscript(new, slice, ast.Load())) for new in _updated(value))
    yield from _counted(node)
    yield from _swapped(node, path, function)
    yield from _detached(node)
    yield from _unconditional(node, path, function)


def _of_draws(node: ast.AST, path: Path, function: ast.FunctionDef) -> Iterator[Edit]:
    """In `draw`: the sign of the parameters, and one draw used twice. The guards of the uniform noise are left alone."""
    if isinstance(node, ast.Call) and _name(node.func) in {"sigmoid", "softmax"}:
        yield "flip a sign", ast.Call(node.func, [_negative(node.args[0]), *node.args[1:]], node.keywords)
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
        names = [value.id for value in node.value.values if isinstance(value, ast.Name)]
        for i, _ in enumerate(names):
            for other in names[:i] + names[i + 1 :]:
                twice = copy.deepcopy(node.value)
                twice.values[i] = ast.Name(other, ast.Load())
                yield _kind_of_swap(names[i]), ast.Return(twice)


def _in_sum(node: ast.BinOp, left: ast.expr, right: ast.expr) -> Iterator[Edit]:
    minus = isinstance(node.op, ast.Sub)
    yield "flip a sign", ast.BinOp(left, ast.Add() if minus else ast.Sub(), right)
    yield "flip a sign", ast.BinOp(_negative(left), node.op, right)
    yield "drop a term", left
    yield "drop a term", _negative(right) if minus else right


def _is_shape(node: ast.AST) -> bool:
    """Whether a summand is zero, and there for the shape of the result: without it samples are missing, not a mean."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.zeros_like"


def _in_product(node: ast.BinOp, left: ast.expr, right: ast.expr) -> Iterator[Edit]:
    yield "drop a factor", left
    if isinstance(node.op, ast.Mult):
        yield "drop a factor", right
    elif not (isinstance(left, ast.Constant) and left.value == 1):
        yield "drop a factor", ast.BinOp(ast.Constant(1), ast.Div(), right)


def _counted(node: ast.AST) -> Iterator[Edit]:
    """n + 1 and n - 1 for a count in arithmetic and in a logarithm; a dimension or an index is no count."""
    if isinstance(node, ast.BinOp):
        yield from (("K for K-1", ast.BinOp(ast.Constant(value), node.op, node.right)) for value in _near(node.left))
        divides = isinstance(node.op, ast.Div)
        near = [value for value in _near(node.right) if value or not divides]
        yield from (("K for K-1", ast.BinOp(node.left, node.op, ast.Constant(value))) for value in near)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "math.log" and isinstance(node.args[0], ast.Constant):
        yield from (("K for K-1", ast.Call(node.func, [ast.Constant(value)], [])) for value in _near(node.args[0]) if value)


def _near(node: ast.AST) -> list[int]:
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return [node.value + 1, node.value - 1]
    return []


def _swapped(node: ast.AST, path: Path, function: ast.FunctionDef) -> Iterator[Edit]:
    """Another sample's value of the same kind: x_1 for x_2, w[0] for w[1], the noise v for u."""
    match node:
        case ast.Name(name, ast.Load()):
            known = _known_before(function, path)
            for other in sorted(known - {name}):
                if (_stem(other) == _stem(name) and _stem(name) != name) or {name, other} == {"u", "v"}:
                    yield _kind_of_swap(name), ast.Name(other, ast.Load())
        case ast.Subscript(ast.Name("w") as weights, ast.Constant(int() as i)):
            count = len(_stacked(function))
            yield from (
                ("swap the sample", ast.Subscript(weights, ast.Constant(j), ast.Load())) for j in range(count) if j != i
            )
        case ast.Subscript(ast.Name("noise") as noise, ast.Constant(str() as key)):
            for other in _noises(function):
                if other != key:
                    yield _kind_of_swap(key), ast.Subscript(noise, ast.Constant(other), ast.Load())


def _kind_of_swap(name: str) -> str:
    return "wrong conditional noise" if name == "v" else "swap the sample"


def _stem(name: str) -> str:
    return re.sub(r"_\d+$", "_", name)


def _known_before(function: ast.FunctionDef, path: Path) -> set[str]:
    """The names that statements before this one have assigned."""
    if path[0][0] != "body":
        return set()
    before = function.body[: path[0][1]]
    return {node.id for statement in before for node in ast.walk(statement) if _is_store(node)}


def _is_store(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _stacked(function: ast.FunctionDef) -> list[ast.expr]:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and _name(node.func) == "stack"]
    return list(chain.from_iterable(call.args[0].elts for call in calls if isinstance(call.args[0], ast.List)))


def _noises(function: ast.FunctionDef) -> list[str]:
    found = [node for node in ast.walk(function) if isinstance(node, ast.Subscript) and _name(node.value) == "noise"]
    return sorted({node.slice.value for node in found if isinstance(node.slice, ast.Constant)})


def _detached(node: ast.AST) -> Iterator[Edit]:
    """f(x).detach() in place of f(x) where autograd follows f, x.requires_grad_() dropped, x in place of x.detach()."""
    match node:
        case ast.Call(ast.Attribute(value, "detach")):
            yield "un-detach", value
        case ast.Call(ast.Attribute(value, "requires_grad_")):
            yield "detach", value
        case ast.Assign([ast.Name("y")], ast.Call(ast.Name("f")) as call):
            yield "detach", ast.Assign(node.targets, ast.Call(ast.Attribute(call, "detach", ast.Load()), [], []), lineno=0)


def _unconditional(node: ast.AST, path: Path, function: ast.FunctionDef) -> Iterator[Edit]:
    """z for z_tilde and its functions, and the branches of z_tilde taken the wrong way round."""
    match node:
        case ast.Name(name, ast.Load()) if "z_tilde" in name:
            plain = name.replace("z_tilde", "z")
            if plain in _known_before(function, path):
                yield "wrong conditional noise", ast.Name(plain, ast.Load())
        case ast.Call(ast.Attribute(_, "where") as where, [condition, yes, no]):
            yield "wrong conditional noise", ast.Call(where, [condition, no, yes], [])
        case ast.Call(ast.Attribute(_, "lerp") as lerp, [no, yes, condition]):
            yield "wrong conditional noise", ast.Call(lerp, [yes, no, condition], [])


def _updated(advantage: ast.BinOp) -> Iterator[ast.expr]:
    """The baseline moved towards the value from which it is subtracted."""
    if isinstance(advantage.op, ast.Sub):
        weight, rest = ast.Constant(UPDATE), ast.Constant(1 - UPDATE)
        moved = ast.BinOp(
            ast.BinOp(rest, ast.Mult(), advantage.right), ast.Add(), ast.BinOp(weight, ast.Mult(), advantage.left)
        )
        yield ast.BinOp(advantage.left, ast.Sub(), moved)


def _negative(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return node.operand
    return ast.UnaryOp(ast.USub(), node)


def _name(node: ast.AST) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))
