"""An audit as one test file that imports torch and itertools only: the user's code, its outcomes, and the exact values."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from derive.language.errors import UsageError

OURS = ("derive", "gradproof", "numeric")
DRAWS = ("bernoulli", "multinomial", "randint", "randperm", "native_dropout")

_HEAD = '''"""{title}

Written by `gradproof audit {case} --export`: every outcome of the draws is run, weighted by its probability, and the mean
of the gradient is held against the exact value. It needs torch and itertools only.
"""

{future}import itertools
'''

_SHIM = '''

class {name}:
    """What is tested: a loss, its parameters, and the objective that the values below were computed from."""

    def __init__(self, loss, params, objective, **rest):
        self.loss, self.params, self.objective = loss, params, objective
'''

_TAIL = '''

import torch as _torch
from torch.utils._python_dispatch import TorchDispatchMode as _Mode

OUTCOMES = {outcomes}
{what} = {values}
TOLERANCE = {tolerance}


class Forced(_Mode):
    """Give each draw of torch the next of the choices, and note how probable it was."""

    def __init__(self, choices):
        super().__init__()
        self.choices, self.probability = iter(choices), 1.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {{}}
        output = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        if _torch.Tag.nondeterministic_seeded not in func.tags:
            return output
        bound = {{a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}}
        bound |= dict(zip((a.name for a in func._schema.arguments), args)) | kwargs
        return getattr(self, name)(output, bound)

    def choose(self, probabilities):
        choice = next(self.choices)
        self.probability *= float(probabilities[choice])
        return choice

    def fill(self, output, values):
        return output.copy_(_torch.tensor(values, dtype=_torch.float64).reshape(output.shape).to(output))

    def bernoulli(self, output, bound):
        p = _torch.as_tensor(bound.get("p") if bound.get("p") is not None else bound["self"]).double()
        return self.fill(output, [self.choose((1 - q, q)) for q in p.broadcast_to(output.shape).reshape(-1).tolist()])

    def multinomial(self, output, bound):
        drawn = []
        for row in bound["self"].double().reshape(-1, bound["self"].shape[-1]).tolist():
            left = list(row)
            for _ in range(output.shape[-1]):
                drawn.append(self.choose([weight / sum(left) for weight in left]))
                if not bound.get("replacement"):
                    left[drawn[-1]] = 0.0
        return self.fill(output, drawn)

    def randint(self, output, bound):
        low, high = int(bound.get("low") or 0), int(bound["high"])
        return self.fill(output, [low + self.choose([1 / (high - low)] * (high - low)) for _ in range(output.numel())])

    def randperm(self, output, bound):
        left = list(range(output.numel()))
        return self.fill(output, [left.pop(self.choose([1 / len(left)] * len(left))) for _ in range(len(left))])

    def native_dropout(self, output, bound):
        mask, p = output[1], bound["p"]
        if bound.get("train") is False or p == 0:
            return output
        self.fill(mask, [self.choose((p, 1 - p)) for _ in range(mask.numel())])
        return bound["input"] * mask * (0.0 if p == 1 else 1 / (1 - p)), mask


def gradient(outcome, params):
    """The gradient of one outcome by parameter, and the probability of the outcome."""
    for param in params.values():
        param.grad = None
    with Forced(outcome) as forced:
        value = {case}.loss()
        if value is not None and value.requires_grad:
            value.backward()
    assert next(forced.choices, None) is None, "the code draws less than it did"
    zeros = {{name: _torch.zeros_like(param) for name, param in params.items()}}
    found = {{name: zeros[name] if param.grad is None else param.grad.detach() for name, param in params.items()}}
    for param in params.values():
        param.grad = None
    return found, forced.probability


def test_{test}():
    params = {case}.params
    if isinstance(params, _torch.Tensor):
        params = {{"theta": params}}
    elif isinstance(params, _torch.nn.Module):
        params = {{name: value for name, value in params.named_parameters() if value.requires_grad}}
    elif not isinstance(params, dict):
        params = {{f"theta[{{position}}]": value for position, value in enumerate(params)}}
    mean = {{name: _torch.zeros_like(param, dtype=_torch.float64) for name, param in params.items()}}
    total = 0.0
    for outcome in OUTCOMES:
        found, probability = gradient(outcome, params)
        total += probability
        for name, part in found.items():
            mean[name] += probability * part.double()
    assert abs(total - 1) < 1e-9, f"the probabilities of all outcomes sum to {{total}}: the code draws otherwise than it did"
    for name, values in {what}.items():
        expected, allowed = (_torch.tensor(each, dtype=_torch.float64) for each in (values, TOLERANCE[name]))
        assert ((mean[name] - expected).abs() <= allowed).all(), f"{{name}}: {{mean[name].tolist()}}, not {{values}}"
'''


def exported(path: Path, name: str, case: Any, report: Any, outcomes: Sequence[tuple[int, ...]]) -> str:
    """Return the source of a test of a case.

    Args
        path      the file of the case, which is copied but for what it imports from gradproof
        name      the name of the case in that file
        report    what `case` was audited to
        outcomes  the choices of every outcome

    Raises
        UsageError, if the case needs more than torch and itertools can redo.
    """
    _require_plain(case, report)
    kept, imported = _without_ours(path)
    shims = "".join(_shim(each) for each in imported)
    exact = report.verdict in ("unbiased", "unbiased up to x")
    title = f"{name}: the mean of the gradient over its {len(outcomes)} outcomes is {'exact' if exact else 'what it was'}."
    tail = _TAIL.format(
        case=name,
        outcomes=_listed(outcomes),
        what="EXACT" if exact else "MEAN",
        values=_values(report.exact if exact else report.mean),
        tolerance=_values(report.up_to if report.verdict == "unbiased up to x" else report.tolerance),
        test=f"{name}_{'has_the_exact_gradient' if exact else 'has_the_mean_that_it_had'}",
    )
    future, rest = _future(kept)
    head = _HEAD.format(title=title, case=f"{path.name}:{name}", future=future)
    return f"{head}{shims}\n\n{rest.strip()}\n{tail}"


def _require_plain(case: Any, report: Any) -> None:
    others = [name for name in report.draws if name.removeprefix("aten.").partition(".")[0].rstrip("_") not in DRAWS]
    reasons = (
        (case.state, "it starts each run from state= objects"),
        (case.batched, "it is batched"),
        (case.dtype is not None, "it is run in another dtype"),
        (report.frozen_noise or report.quadrature or report.sampling, "it draws continuous noise"),
        (others, f"it draws by {', '.join(others)}"),
        (report.vacuous or report.undecided, f"its audit is {report.verdict}"),
    )
    for holds, reason in reasons:
        if holds:
            message = f"this case cannot be exported: {reason}; a test that stands alone draws by {', '.join(DRAWS)}."
            raise UsageError(message)


def _without_ours(path: Path) -> tuple[str, list[str]]:
    """The source without imports of gradproof, and the names by which it knows AuditCase: "AuditCase", "numeric.AuditCase"."""
    source = path.read_text(encoding="utf-8")
    lines, names = source.splitlines(), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            ours = _imported(node)
            if ours:
                names += ours
                for line in range(node.lineno - 1, node.end_lineno or node.lineno):
                    lines[line] = ""
    wrong = [name for name in names if name.rpartition(".")[2] != "AuditCase"]
    if wrong:
        message = f"{path} uses {', '.join(wrong)} of gradproof beside AuditCase; export a file that needs AuditCase only."
        raise UsageError(message)
    return "\n".join(lines), list(dict.fromkeys(names))


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        ours = (node.module or "").partition(".")[0] in OURS
        return [each.name if each.name != "AuditCase" else each.asname or each.name for each in node.names] if ours else []
    return [f"{each.asname or each.name}.AuditCase" for each in node.names if each.name.partition(".")[0] in OURS]


def _shim(name: str) -> str:
    module, _, attribute = name.rpartition(".")
    made = _SHIM.format(name=attribute or name)
    return f"{made}\n\nclass {module}:\n    AuditCase = AuditCase\n" if module else made


def _future(source: str) -> tuple[str, str]:
    """The import of the future, which must stand first, and the rest without it and without the docstring of the file."""
    tree, lines = ast.parse(source), source.splitlines()
    taken = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    for node in [*taken, *([tree.body[0]] if ast.get_docstring(tree) is not None else [])]:
        for line in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[line] = ""
    names = [each.name for node in taken for each in node.names]
    return f"from __future__ import {', '.join(names)}\n\n" if names else "", "\n".join(lines)


def _listed(outcomes: Sequence[tuple[int, ...]]) -> str:
    sizes = [max(column) + 1 for column in zip(*outcomes, strict=False)]
    if len({len(each) for each in outcomes}) == 1 and math.prod(sizes) == len(outcomes):
        return f"list(itertools.product({', '.join(f'range({size})' for size in sizes)}))"
    return "[\n" + "".join(f"    {each},\n" for each in outcomes) + "]"


def _values(parts: dict[str, Any]) -> str:
    return "{\n" + "".join(f"    {name!r}: {part.tolist()!r},\n" for name, part in parts.items()) + "}"
