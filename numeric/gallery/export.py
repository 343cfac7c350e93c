"""A row as a test file that imports torch and itertools only: the setting at one point, the code, and the exact gradient."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

import torch
from torch import Tensor

from numeric.gallery.measure import measured
from numeric.gallery.row import Row, Script
from numeric.testbed.samples import kept_tokens
from numeric.testbed.setting import Point

_FIELDS = {
    "logprobs": "token_log_probs(logits)",
    "kept_logprobs": 'token_log_probs(logits.masked_fill(~KEPT, float("-inf"))).clamp(min=-9.0)',
    "vocabulary": "logits.log_softmax(-1)[PREFIXES]",
    "old_logprobs": "token_log_probs(SAMPLER).clamp(min=-9.0)",
    "prox_logprobs": "token_log_probs(PROXIMAL)",
    "ref_logprobs": "token_log_probs(REFERENCE)",
    "ref_vocabulary": "REFERENCE.log_softmax(-1)[PREFIXES]",
    "rewards": "REWARDS",
    "more_rewards": "MORE_REWARDS",
    "mask": "MASK",
    "tokens": "TOKENS",
    "values": "VALUES[PREFIXES]",
    "action_values": "ACTION_VALUES[PREFIXES, TOKENS]",
    "exact_values": "EXACT_VALUES",
}
"""What a loss is given, computed from the tables of the point, as in `numeric.testbed.samples`."""

_TEST = '''"""{name}: {verdict}.

{claim}

Every group of {size} samples of a language model with three tokens and {count} sequences is run, weighted by its probability,
and the mean of the gradient is held against its exact value. Written by `gradproof gallery {name} --export`.
"""

import itertools{extra}

import torch
from torch import Tensor

# One row of logits for each prefix; the sequences, padded, with the row that each token is drawn from.
{tables}


def token_log_probs(logits):
    return logits.log_softmax(-1)[PREFIXES, TOKENS]


def law(logits):
    """The probability of each sequence."""
    return torch.where(MASK > 0, token_log_probs(logits), torch.zeros_like(MASK)).sum(-1).exp()


# Replace this by your own.
{source}

def fields(logits):
    """What the loss is given, for each sequence."""
    return {{
{fields}
    }}


def mean_gradient():
    logits = LOGITS.clone().requires_grad_()
    laws = [{laws}]
    mean, total = torch.zeros_like(LOGITS), 0.0
    for group in itertools.product(range(len(TOKENS)), repeat={size}):
        weight = torch.stack([law[i] for law, i in zip(laws, group)]).prod()
        if weight == 0{skipped}:
            continue
        loss = {function}(**{{name: values[list(group)] for name, values in fields(logits).items()}})
        (gradient,) = torch.autograd.grad(loss, logits)
        mean, total = mean + weight * gradient, total + weight
    return mean / total


def test_{function}():
    torch.testing.assert_close(mean_gradient(), EXPECTED, rtol=0, atol=1e-8)
'''


def exported(row: Row) -> str:
    """Return the source of a test of a row.

    >>> from numeric.gallery.rows import GALLERY
    >>> exported(GALLERY["token-sum"]).splitlines()[0]
    '\"\"\"token-sum: unbiased.'
    """
    point, size = row.world.point(0), row.sizes[0]
    script = row.world.script(point) if row.world.script else _script(row, point)
    fields = "\n".join(f'        "{name}": {script.fields[name]},' for name in inspect.signature(row.loss).parameters)
    laws = list(row.world.laws or ["law(SAMPLER)"])
    laws = laws * size if len(laws) == 1 else laws
    skipped = " or len(set(REWARDS[list(group)].tolist())) == 1" * row.mixed
    return _TEST.format(
        claim=textwrap.fill(row.claim, 120),
        verdict=row.verdict,
        name=row.name,
        size=size,
        count=len(point.setting.lists),
        extra="\nimport math" if "math." in row.source else "",
        tables=_tables(row, script, fields + " ".join(laws) + skipped),
        source=row.source,
        fields=fields,
        laws=", ".join(laws),
        skipped=skipped,
        function=row.loss.__name__,
    )


def _script(row: Row, point: Point) -> Script:
    tables = {
        "LOGITS": point.logits,
        "BEHAVIOUR": point.behaviour,
        "PROXIMAL": point.proximal,
        "REFERENCE": point.reference,
        "PREFIXES": point.setting.prefixes,
        "TOKENS": point.setting.sequences,
        "MASK": point.setting.mask,
        "REWARDS": point.rewards,
        "MORE_REWARDS": point.more_rewards,
        "VALUES": point.values,
        "ACTION_VALUES": point.action_values,
        "EXACT_VALUES": row.world.samples(point).fields["exact_values"](point.logits),
        "KEPT": kept_tokens(point.logits, row.world.policy),
    }
    return Script(tables, _FIELDS)


def _tables(row: Row, script: Script, text: str) -> str:
    """The tables that a text names, the sampler, and what is expected."""
    drawn_from = {"off": "BEHAVIOUR", "on": "LOGITS"}.get(row.world.policy, 'LOGITS.masked_fill(~KEPT, float("-inf"))')
    sampler = [] if row.world.script else [f"SAMPLER = {drawn_from}"]
    needed = set(re.findall("[A-Z_]+", f"{text} {' '.join(sampler)} LOGITS PREFIXES TOKENS MASK"))
    lines = [f"{name} = {_literal(value)}" for name, value in script.tables.items() if name in needed]
    found = measured(row, 0, row.sizes[0])
    expected = found.mean.gradient if found.expected is None else found.expected
    of_logits = expected.reshape(script.tables["LOGITS"].shape)
    return "\n".join([*lines, *sampler, f"EXPECTED = {_literal(of_logits)}{_said(row)}"])


def _said(row: Row) -> str:
    factor = "" if row.by == 1 else f"{row.factor(row.world.point(0), row.sizes[0]):.6g} times "
    return f"\n# which is the gradient of {factor}{row.target.words}" if row.target else ""


def _literal(value: Tensor) -> str:
    dtype = ", dtype=torch.float64" if value.dtype == torch.float64 else ""
    text = f"torch.tensor({_rounded(value.tolist())}{dtype})"
    if len(text) < 110:
        return text
    if value.numel() > 60:
        numbers = ", ".join(map(_rounded, value.flatten().tolist()))
        flat = textwrap.fill(numbers, 116, initial_indent="    ", subsequent_indent="    ")
        return f"torch.tensor([\n{flat},\n]{dtype}).reshape({', '.join(map(str, value.shape))})"
    rows = ",\n".join(f"    {_rounded(row)}" for row in value.tolist())
    return f"torch.tensor([\n{rows},\n]{dtype})"


def _rounded(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_rounded, value))}]"
    return repr(round(value, 10) + 0.0) if isinstance(value, float) else repr(value)
