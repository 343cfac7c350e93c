"""Drawing and estimating in one function, for who needs no noise in between.

It is made from the text of a generated module, statement by statement, so that it has no formula of its own: what both compute
is computed once, and what is not needed any more is forgotten, for memory that is fresh costs more than most operations on it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import EllipsisType

NAME = "draw_and_estimate"

SCALED = '''
def scaled(difference, factor):
    large = isinstance(difference, torch.Tensor) and difference.numel() >= 16384 and difference.dtype == factor.dtype
    return difference.mul_(factor) if large and difference.shape[:-1] == factor.shape[:-1] else factor * difference
'''
"""The product; where a difference has no name, and is no number, in its memory."""


def together(source: str) -> str:
    """Return the text of a function that returns what `draw` gives and what `estimate` makes of it.

    It takes what `estimate` takes, with `generator` and `sample_shape` in place of the noise, by name.

    >>> text = together('''
    ... def draw(logits, generator=None, sample_shape=()):
    ...     u = noise_of(torch.sigmoid(logits), sample_shape)
    ...     return {"u": u}
    ... def estimate(logits, noise, f):
    ...     u = noise["u"]
    ...     p = torch.sigmoid(logits)
    ...     return f(u) * p
    ... ''')
    >>> print(text)
    def draw_and_estimate(logits, f, *, generator, sample_shape):
        p = torch.sigmoid(logits)
        u = noise_of(p, sample_shape)
        noise = {'u': u}
        u = noise['u']
        return (noise, f(u) * p)
    """
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    draw, estimate = functions["draw"], functions["estimate"]
    before, after = _side_by_side(_statements(draw), _statements(estimate))
    repeated = _repeated(before, after)
    after = [statement for statement in after if statement not in repeated]
    shared = [statement for statement in after if _is_shared(statement, before, after)]
    known = {ast.unparse(statement.value): statement.targets[0] for statement in shared if isinstance(statement, ast.Assign)}
    body = [*shared, *(_Known(known).visit(statement) for statement in before)]
    body += _late([statement for statement in after if statement not in shared])
    body = list(_forgetting([_InPlace().visit(statement) for statement in body]))
    text = ast.unparse(ast.fix_missing_locations(_function(estimate, draw, body)))
    return f"{SCALED.strip()}\n\n{text}" if "scaled(" in text else text


def _statements(function: ast.FunctionDef) -> list[ast.stmt]:
    """Those after the docstring; what `draw` returns is given its name."""
    *body, last = function.body[1:] if ast.get_docstring(function) is not None else function.body
    value = last.value if isinstance(last, ast.Return) else None
    if value is None:
        message = f"the last statement of a generated {function.name} must return something."
        raise ValueError(message)
    if function.name == "draw":
        result: ast.stmt = ast.Assign([ast.Name("noise", ast.Store())], value)
    else:
        result = ast.Return(ast.Tuple([ast.Name("noise", ast.Load()), value], ast.Load()))
    return [*body, ast.fix_missing_locations(result)]


def _side_by_side(before: list[ast.stmt], after: list[ast.stmt]) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """The statements, with samples that `draw` parts and `estimate` puts into one tensor in that tensor from the start.

    Only where each is given, and taken, by its own name.
    """
    for i, parting in enumerate(before):
        if not (isinstance(parting, ast.Assign) and ast.unparse(parting.value) == "torch.stack(drawn.unbind(-2))"):
            continue
        names = list(_names(parting, ast.Store))
        listed = f"({', '.join(names)})"
        given = _written(f"noise = {{{', '.join(f'{name!r}: {name}' for name in names)}}}")
        taken = _written(f"{listed} = ({', '.join(f'noise[{name!r}]' for name in names)})")
        texts = list(map(ast.unparse, after))
        for at, statement in enumerate(after):
            if isinstance(statement, ast.Assign) and ast.unparse(statement.value) == f"torch.stack({listed})":
                if ast.unparse(before[-1]) != given or texts.count(taken) != 1:
                    break
                stack = ast.unparse(statement.targets[0])
                drawn = ast.parse(f"{stack} = drawn.movedim(-2, 0).contiguous()\n{listed} = {stack}").body
                rest = [one for j, one in enumerate(after) if j not in (at, texts.index(taken))]
                return [*before[:i], *drawn, *before[i + 1 :]], rest
    return before, after


def _written(text: str) -> str:
    return ast.unparse(ast.parse(text))


def _repeated(before: list[ast.stmt], after: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of `estimate` that stand in `draw` too, and give what they give there."""
    stored = [name for statement in [*before, *after] for name in _names(statement, ast.Store)]
    texts, known, found = set(map(ast.unparse, before)), set[str](), list[ast.stmt]()
    for statement in after:
        own, used = set(_names(statement, ast.Store)), set(_names(statement, ast.Load))
        alone = all(stored.count(name) == 2 for name in own) and not used & set(stored) - known
        if ast.unparse(statement) in texts and own and alone:
            found.append(statement)
            known |= own
    return found


def _is_shared(statement: ast.stmt, before: list[ast.stmt], after: list[ast.stmt]) -> bool:
    """Whether a statement of `estimate` names a function of the parameters that `draw` computes too, once and for all."""
    if not (isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call)):
        return False
    defined = [name for other in [*before, *after] for name in _names(other, ast.Store)]
    own = list(_names(statement, ast.Store))
    if len(own) != 1 or defined.count(own[0]) != 1 or set(_names(statement.value, ast.Load)) & set(defined):
        return False
    text = ast.unparse(statement.value)
    return any(isinstance(node, ast.Call) and ast.unparse(node) == text for other in before for node in ast.walk(other))


def _late(statements: list[ast.stmt]) -> list[ast.stmt]:
    """Differences and products of names that only the result needs are computed inside it, one after the other."""
    *body, result = statements
    used = [name for statement in statements for name in _names(statement, ast.Load)]
    last = set(_names(result, ast.Load))
    late: dict[str, ast.expr] = {
        ast.unparse(target): statement.value
        for statement in body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.BinOp)
        for target in statement.targets
        if isinstance(target, ast.Name) and target.id in last and used.count(target.id) == 1
        if all(isinstance(part, (ast.BinOp, ast.Name, ast.operator, ast.expr_context)) for part in ast.walk(statement.value))
    }
    kept = [one for one in body if not (isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) in late)]
    return [*kept, _Values(late).visit(result)]


def _forgetting(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements, and after the last that uses a name its end; functions inside may use theirs at any time."""
    nested = [node for one in statements for node in ast.walk(one) if isinstance(node, (ast.FunctionDef, ast.comprehension))]
    kept = {name for node in nested for kind in (ast.Load, ast.Store) for name in _names(node, kind)} | {"noise"}
    used, stored = ([set(_names(one, kind)) for one in statements] for kind in (ast.Load, ast.Store))
    last = {name: i for i, names in enumerate(used) for name in names}
    known = set[str]()
    for i, statement in enumerate(statements):
        yield statement
        known |= stored[i]
        over = sorted(name for name in (used[i] | stored[i]) & known - kept if last.get(name, i) <= i)
        if over and i + 1 < len(statements):
            yield ast.Delete([ast.Name(name, ast.Del()) for name in over])


def _names(node: ast.AST, kind: type[ast.expr_context]) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, kind))


def _function(estimate: ast.FunctionDef, draw: ast.FunctionDef, body: list[ast.stmt]) -> ast.FunctionDef:
    given, own, names = estimate.args, draw.args, [arg.arg for arg in estimate.args.kwonlyargs]
    more: list[tuple[ast.arg, ast.expr | None]] = [(arg, None) for arg in (ast.arg("generator"), ast.arg("sample_shape"))]
    more += [(arg, default) for arg, default in zip(own.kwonlyargs, own.kw_defaults, strict=True) if arg.arg not in names]
    arguments = ast.arguments(
        posonlyargs=[],
        args=[arg for arg in given.args if arg.arg != "noise"],
        kwonlyargs=[*(arg for arg, _ in more), *given.kwonlyargs],
        kw_defaults=[*(default for _, default in more), *given.kw_defaults],
        defaults=[],
    )
    return ast.FunctionDef(NAME, arguments, body, [])


class _InPlace(ast.NodeTransformer):
    """Part draws without a tensor of all, and compare without booleans, which take several times as long."""

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        self.generic_visit(node)
        match node:
            case ast.Assign([ast.Tuple()], ast.Call(ast.Attribute(ast.Name("torch"), "stack"), [ast.Call() as parts], [])):
                if isinstance(parts.func, ast.Attribute) and parts.func.attr == "unbind":
                    each = ast.Call(_expression("map"), [_expression("torch.Tensor.contiguous"), parts], [])
                    return ast.fix_missing_locations(ast.Assign(node.targets, each))
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.Call(
                ast.Attribute(ast.Compare(ast.Name(z), [ast.GtE()], [bound]), "to"), [ast.Attribute(ast.Name(like), "dtype")]
            ) if z == like:
                copied = ast.Call(ast.Attribute(ast.Name(z, ast.Load()), "clone", ast.Load()), [], [])
                return ast.Call(ast.Attribute(copied, "ge_", ast.Load()), [bound], [])
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.BinOp(
                ast.Subscript(_, ast.Tuple([ast.Constant(value=EllipsisType()), ast.Constant(None)])) as factor,
                ast.Mult(),
                ast.BinOp(ast.Name(), ast.Sub(), ast.Name()) as difference,
            ):
                return ast.Call(ast.Name("scaled", ast.Load()), [difference, factor], [])
        return node


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


class _Values(ast.NodeTransformer):
    """Put expressions in place of names."""

    def __init__(self, values: dict[str, ast.expr]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._values.get(node.id, node)


class _Known(ast.NodeTransformer):
    """Put names where they are known for calls."""

    def __init__(self, known: dict[str, ast.expr]) -> None:
        self._known = known

    def visit_Call(self, node: ast.Call) -> ast.expr:
        name = self._known.get(ast.unparse(node))
        if isinstance(name, ast.Name):
            return ast.Name(name.id, ast.Load())
        self.generic_visit(node)
        return node
