"""A row as a test file that imports torch and itertools only: the setting at one point, the code, and the exact gradient."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.gallery.measure import measured
from numeric.gallery.row import Row
from numeric.testbed.samples import Samples, kept_tokens
from numeric.testbed.setting import Point

_POLICY = {
    "logprobs": "theta.log_softmax(-1)[PREFIXES, TOKENS]",
    "vocabulary": "theta.log_softmax(-1)[PREFIXES]",
    "kept_logprobs": 'theta.masked_fill(~KEPT, float("-inf")).log_softmax(-1)[PREFIXES, TOKENS].clamp(min=-9.0)',
}
"""How the fields that move with the logits are computed from them, as in `numeric.testbed.samples`."""

_TEST = '''"""{claim}

Every group of {size} samples of a language model with three tokens and {count} sequences is run, weighted by its probability,
and the mean of the gradient is held against its exact value. Written by `gradproof gallery {name} --export`.
"""

import itertools{extra}

import torch
from torch import Tensor

{data}


# Replace this by your own.
{source}

def fields(theta):
    """What a loss is given, for each sequence."""
    return {{
{fields}
    }}


def mean_gradient():
    theta = LOGITS.clone().requires_grad_()
    mean, total = torch.zeros_like(LOGITS), 0.0
    for group in itertools.product([i for i, p in enumerate(LAW.tolist()) if p > 0], repeat={size}):
{skipped}        index = torch.tensor(group)
        weight = LAW[index].prod()
        loss = {function}(**{{name: values[index] for name, values in fields(theta).items()}})
        (gradient,) = torch.autograd.grad(loss, theta)
        mean, total = mean + weight * gradient, total + weight
    return mean / total


def test_{function}():
    torch.testing.assert_close(mean_gradient(), EXPECTED, rtol=0, atol=1e-9)
'''


def exported(row: Row) -> str:
    """Return the source of a test of a row.

    Raises
        UsageError, for a row whose samples are more than the sequences of the testbed.
    """
    point = row.world.point(0)
    samples = row.world.samples(point)
    if not isinstance(point, Point) or samples.laws:
        message = f"{row.name} has samples of its own ({row.world.shown}), and no test that stands alone."
        raise UsageError(message)
    size = row.sizes[0]
    found = measured(row, 0, size)
    names = list(inspect.signature(row.loss).parameters)
    expected = found.mean.gradient if found.expected is None else found.expected
    what = "what it is: it is the gradient of nothing that has a name" if row.target is None else f"{row.target.words}"
    return _TEST.format(
        claim=row.claim.replace("\\", ""),
        name=row.name,
        size=size,
        count=len(point.setting.lists),
        extra="\nimport math" if "math." in row.source else "",
        data=_data(row, point, samples, names, expected.reshape(point.logits.shape), what),
        source=row.source,
        fields="\n".join(f'        "{name}": {_POLICY.get(name, name.upper())},' for name in names),
        function=row.loss.__name__,
        skipped="        if len(set(REWARDS[list(group)].tolist())) == 1:\n            continue\n" * row.mixed,
    )


def _data(row: Row, point: Point, samples: Samples, names: list[str], expected: Tensor, what: str) -> str:
    constants = {name.upper(): samples.fields[name](point.logits) for name in names if name not in _POLICY}
    kept = {"KEPT": kept_tokens(point.logits, _way(row))} if "kept_logprobs" in names else {}
    if row.mixed:
        constants.setdefault("REWARDS", point.rewards)
    tables = {
        "LOGITS": point.logits,
        "PREFIXES": point.setting.prefixes,
        "TOKENS": point.setting.sequences,
        "LAW": samples.law,
        **kept,
        **{name: value for name, value in constants.items() if name not in ("TOKENS", "PREFIXES")},
    }
    lines = [f"{name} = {_literal(value)}" for name, value in tables.items()]
    factor = "" if row.by == 1 else f", {row.factor(point, row.sizes[0]):.6g} times"
    return "\n".join([*lines, f"# The gradient of the loss: {what}{factor}.", f"EXPECTED = {_literal(expected)}"])


def _way(row: Row) -> str:
    return "top-p" if "top-p" in row.world.shown else "top-k"


def _literal(value: Any) -> str:
    dtype = "torch.float64" if value.dtype == torch.float64 else None
    text = f"torch.tensor({_rounded(value.tolist())}{f', dtype={dtype}' if dtype else ''})"
    if len(text) < 100:
        return text
    rows = ",\n".join(f"    {_rounded(row)}" for row in value.tolist())
    return f"torch.tensor([\n{rows},\n]{f', dtype={dtype}' if dtype else ''})"


def _rounded(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_rounded, value))}]"
    return repr(round(value, 14)) if isinstance(value, float) else repr(value)
