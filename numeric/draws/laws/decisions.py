"""Operations that decide something about noise of a known form, and what each of them gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from numeric.draws.laws.decided import GammaPoisson, Integers, Intervals
from numeric.draws.laws.forms import Form
from numeric.draws.laws.races import Ranking, asked
from numeric.draws.random_ops import Call
from numeric.draws.tape import Tape

_ABOVE = {"lt": False, "le": False, "gt": True, "ge": True}


@dataclass(frozen=True)
class Decision:
    """What an operation gives where noise decides: its output, and which parts of that are noise still."""

    output: Any
    values: Sequence[Tensor] = ()


def decision(call: Call, tensor: Tensor, form: Form, tape: Tape) -> Decision | None:
    """Return what an operation decides about a tensor of noise of a known form, drawn from its law.

    None where the operation decides nothing, or we know no law of it; then nothing was drawn.
    """
    if call.name in _ABOVE:
        return _compared(call, tensor, form, tape)
    if call.name in ("floor", "ceil", "round"):
        return _rounded(call, tensor, form, tape)
    return _ordered(call, tensor, form, tape)


def mixed(call: Call, form: Form, tape: Tape) -> Tensor | None:
    """Return Poisson counts whose rates are gamma noise, drawn from their negative binomial law; None of any other draw."""
    noise = form.noise
    is_gamma = noise.family == "gamma" and all(step.name == "mul" for step in form.steps)
    is_fresh = not noise.used and noise.law is None and form.ids.unique().numel() == form.ids.numel()
    if call.name != "poisson" or not is_gamma or not is_fresh:
        return None
    output: Tensor = call()
    noise.law = law = GammaPoisson(form)
    return output.copy_(law.drawn(tape))


def cancelled(call: Call, left: Form, right: Form) -> Tensor | None:
    """Return b where (b - y) + y or y + (b - y) is asked for, as straight-through estimators write it; None otherwise."""
    first, second = sorted((left, right), key=lambda form: -len(form.steps))
    extra = first.steps[len(second.steps) :]
    is_same = first.steps[: len(second.steps)] == second.steps and torch.equal(first.ids, second.ids)
    is_difference = [step.name for step in extra] == ["neg", "add"] and left.noise is right.noise and is_same
    if call.name != "add" or call.bound["alpha"] != 1 or not is_difference:
        return None
    dtype = torch.result_type(*call.args[:2])
    return extra[1].value.detach().to(dtype).clone()


def _compared(call: Call, tensor: Tensor, form: Form, tape: Tape) -> Decision | None:
    left, right = call.args[0], call.args[1]
    other = right if left is tensor else left
    threshold = other if isinstance(other, Tensor) else torch.tensor(other, dtype=torch.float64, device=tensor.device)
    shape = torch.broadcast_shapes(threshold.shape, form.ids.shape)
    (wide,) = form.moved(lambda values: values.expand(shape))
    law = form.noise.law or Intervals(form.noise)
    below = law.below(wide, threshold, tape) if isinstance(law, Intervals) else None
    if below is None:
        return None
    form.noise.law = law
    return Decision(below ^ (_ABOVE[call.name] == (left is tensor)))


def _rounded(call: Call, tensor: Tensor, form: Form, tape: Tape) -> Decision | None:
    law = Integers()
    if form.noise.law is not None or call.bound.get("decimals"):
        return None
    integers = law.rounded(form, call.name, tape)
    if integers is None:
        return None
    form.noise.law = law
    return Decision(integers.to(tensor.dtype))


def _ordered(call: Call, tensor: Tensor, form: Form, tape: Tape) -> Decision | None:
    wanted = asked(call, tensor)
    law = form.noise.law or Ranking()
    if wanted is None or not isinstance(law, Ranking):
        return None
    indices = law.answer(form, wanted, tape)
    if indices is None:
        return None
    form.noise.law = law
    if not wanted.gives_values:
        return Decision(indices)
    values = call()[0]
    return Decision((values, indices), (values,))
