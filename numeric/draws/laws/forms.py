"""What is known of a tensor of noise: which scalars of standard noise it holds, and what was done to each of them.

A `Form` says that a tensor is, element by element, a chain of steps (log, times t, plus t, ...) applied to independent scalars
of one draw. As long as that is known, a decision about the tensor has an exact law: a comparison with a threshold is a drawn
bit, and an argmax of keys is a categorical one. What loses the form uses the noise itself, and no decision about it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from numeric.draws.random_ops import NOISE, Call

NEGLIGIBLE = 1e-7
"""A step that changes no probability by more than this, in one scalar of noise, is left out; the report says by how much."""

UNARY = frozenset("neg log exp log1p expm1 sigmoid logit reciprocal tanh".split())
CLAMPS = frozenset("clamp clamp_min clamp_max".split())
_SAME = frozenset("alias detach clone contiguous lift_fresh".split())
_MOVES = frozenset(
    """
    expand flatten gather index index_select movedim narrow permute reshape select slice split split_with_sizes squeeze t
    transpose unbind unsqueeze view _reshape_alias _unsafe_view
    """.split()
)
_LOCATION_AND_SCALE = {
    "uniform": (("from", "to"), (0.0, 1.0)),
    "normal": (("mean", "std"), (0.0, 1.0)),
    "exponential": (("", "lambd"), (0.0, 1.0)),
    "cauchy": (("median", "sigma"), (0.0, 1.0)),
}


@dataclass(frozen=True, eq=False)
class Operand:
    """A tensor of the shape of a form, in float64 and with its graph, made when it is asked for."""

    make: Callable[[], Tensor]
    is_constant: bool

    def __call__(self) -> Tensor:
        return self.make()

    def then(self, change: Callable[[Tensor], Tensor]) -> Operand:
        """Return the operand after a change."""
        return Operand(lambda: change(self.make()), self.is_constant)


@dataclass(frozen=True, eq=False)
class Step:
    """One step, as "log", or "mul" with an operand; that of "softmax" numbers the rows over which it is taken."""

    name: str
    operand: Operand | None = None

    @property
    def value(self) -> Tensor:
        """The operand, with its graph."""
        if self.operand is None:
            message = f"the step {self.name} has no operand"
            raise ValueError(message)
        return self.operand()


@dataclass(eq=False)
class Noise:
    """One draw of noise, what it was used for, and what was decided about it.

    Args
        family     its standard law
        size       the number of its scalars
        used       whether its values matter, so that no decision about it can be drawn apart from them
        neglected  the probability that a clamp or a shift away from zero moves, which is left out
        law        what was decided about it, None where nothing was
        shape      of a gamma law: the concentration of each scalar
    """

    family: str
    size: int
    used: bool = False
    neglected: float = 0.0
    law: Any = None
    shape: Operand | None = None


@dataclass(frozen=True, eq=False)
class Form:
    """A tensor of noise: element i is `steps` applied to the scalar number ids[i] of `noise`."""

    noise: Noise
    ids: Tensor
    steps: tuple[Step, ...] = ()

    def then(self, step: Step) -> Form:
        """Return the form after one more step."""
        return replace(self, steps=(*self.steps, step))

    def moved(self, move: Callable[[Tensor], Any]) -> list[Form]:
        """Return the forms that moving the elements gives: one for each tensor that the move returns."""
        forms = []
        for position, ids in enumerate(each for each in tree_leaves(move(self.ids)) if isinstance(each, Tensor)):
            steps = tuple(_moved(step, move, position) for step in self.steps)
            forms.append(Form(self.noise, ids, steps))
        return forms


def _moved(step: Step, move: Callable[[Tensor], Any], position: int) -> Step:
    operand = step.operand
    if operand is None:
        return step
    return replace(step, operand=operand.then(lambda value: tree_leaves(move(value))[position]))


def drawn_form(call: Call, output: Tensor, noise: Noise) -> Form | None:
    """Return the form of the output of a draw, None where its law has no standard form."""
    family, bound = NOISE[call.name], call.bound
    if family == "gamma":
        noise.shape = _operand(bound["self"], output.shape).then(lambda value: value.reshape(-1))
        return Form(noise, torch.arange(output.numel(), device=output.device).reshape(output.shape))
    if family not in _LOCATION_AND_SCALE:
        return None
    names, usual = _LOCATION_AND_SCALE[family]
    first, second = (usual[i] if bound.get(name) is None else bound[name] for i, name in enumerate(names))
    form = Form(noise, torch.arange(output.numel(), device=output.device).reshape(output.shape))
    if not isinstance(first, Tensor) and not isinstance(second, Tensor) and (first, second) == usual:
        return form
    at, width = (_operand(each, form.ids.shape) for each in (first, second))
    if family == "uniform":
        scale = Operand(lambda: width() - at(), at.is_constant and width.is_constant)
        return _after(form, [Step("mul", scale), Step("add", at)])
    if family == "exponential":
        return form.then(Step("mul", width.then(torch.reciprocal)))
    return form.then(Step("mul", width)).then(Step("add", at))


def followed(
    call: Call, forms: Sequence[Form], tensors: Sequence[Tensor], output: Any, before: Tensor | None = None
) -> list[Form] | None:
    """Return the forms of what an operation made of tensors with forms, None where no form is known.

    Args
        before  what the first argument was, if it has been overwritten
    """
    name, first = call.name.rstrip("_"), forms[0]
    outputs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    if not all(leaf.is_floating_point() for leaf in outputs):
        return None
    if len(forms) == 2:
        return _logit(name, forms, outputs)
    if len(forms) != 1 or not call.args:
        return None
    if name in _SAME or (name in ("_to_copy", "view") and first.ids.shape == outputs[0].shape):
        return [first]
    if name in _MOVES and call.args[0] is tensors[0]:
        return first.moved(lambda values: call.func(values, *call.args[1:], **call.kwargs))
    if name in CLAMPS:
        clamped = _without(first, clamped_share(call, first))
        return None if clamped is None else [clamped]
    shape = outputs[0].shape
    steps = _steps(call, name, tensors[0], shape, call.args[0] if before is None else before)
    if steps is None:
        return None
    (wide,) = first.moved(lambda values: values.expand(shape)) if shape != first.ids.shape else [first]
    return [_after(wide, steps)]


def _logit(name: str, forms: Sequence[Form], outputs: Sequence[Tensor]) -> list[Form] | None:
    """log u - log1p(-u), as relaxed Bernoulli laws write it, is logit u."""
    left, right = forms
    start, end = left.steps[:-1], right.steps[len(left.steps) - 1 :]
    names = ([step.name for step in left.steps[-1:]], [step.name for step in end])
    same = right.steps[: len(start)] == start and left.noise is right.noise and torch.equal(left.ids, right.ids)
    if name != "sub" or names != (["log"], ["neg", "log1p"]) or not same or outputs[0].shape != left.ids.shape:
        return None
    return [Form(left.noise, left.ids, (*start, Step("logit")))]


def _steps(call: Call, name: str, tensor: Tensor, shape: torch.Size, first: Any) -> tuple[Step, ...] | None:
    if name in UNARY:
        return (Step(name),)
    if name in ("_softmax", "_log_softmax"):
        return (Step("softmax", _rows(tensor, int(call.args[1]))),)
    if len(call.args) < 2 or call.bound.get("rounding_mode") is not None:
        return None
    is_left = call.args[0] is tensor
    operand = _operand(call.args[1] if is_left else first, shape)
    if name in ("add", "sub", "rsub"):
        return _sum(name, operand, is_left=is_left) if call.bound.get("alpha", 1) == 1 else None
    if name == "mul":
        return (Step("mul", operand),)
    if name in ("div", "true_divide"):
        return (Step("mul", operand.then(torch.reciprocal)),) if is_left else (Step("reciprocal"), Step("mul", operand))
    return (Step("pow", operand),) if name == "pow" and is_left else None


def _rows(tensor: Tensor, dim: int) -> Operand:
    labels = torch.arange(tensor.numel(), dtype=torch.float64, device=tensor.device).reshape(tensor.shape)
    rows = labels.select(dim, 0).unsqueeze(dim).expand(tensor.shape) if labels.dim() else labels
    return Operand(lambda: rows, is_constant=True)


def _sum(name: str, operand: Operand, *, is_left: bool) -> tuple[Step, ...]:
    if name == "add":
        return (Step("add", operand),)
    if is_left == (name == "sub"):
        return (Step("add", operand.then(torch.neg)),)
    return Step("neg"), Step("add", operand)


def _plain(form: Form) -> str:
    """Name the law of a form that is uniform on (0, 1) or exponential of rate 1, "" for any other."""
    names = [step.name for step in form.steps]
    if names == [] and form.noise.family in ("uniform", "exponential"):
        return form.noise.family
    is_exponential = form.noise.family == "uniform" and names in (["log", "neg"], ["neg", "log1p", "neg"])
    return "exponential" if is_exponential else ""


def _neglected(form: Form, name: str, numbers: Sequence[Tensor | None]) -> float:
    """Return the most by which a clamp or a shift changes the probability of anything, in one scalar; 1 if that is unknown."""
    law = _plain(form)
    if form.noise.shape is not None:
        return _gamma_below(form, numbers) if name == "clamp" else 1.0
    if not law:
        return 1.0
    low, high = (*(None if each is None else each.detach() for each in numbers), None, None)[:2]
    if name == "add" and low is not None:
        return float(low.abs().max())
    if name == "mul" and low is not None:
        return float((low - 1).abs().max())
    below = 0.0 if low is None else float(low.max())
    above = 0.0 if high is None else float((1 - high).max() if law == "uniform" else (-high).exp().max())
    return max(0.0, below) + max(0.0, above)


def _gamma_below(form: Form, numbers: Sequence[Tensor | None]) -> float:
    """Return the probability of gamma noise below a number, 1 if it is not only scaled."""
    if len(numbers) != 1 or numbers[0] is None or form.noise.shape is None or any(step.name != "mul" for step in form.steps):
        return 1.0
    scale = math.prod((float(step.value.min()) for step in form.steps), start=1.0)
    return float(torch.special.gammainc(form.noise.shape().detach(), numbers[0] / scale).max()) if scale > 0 else 1.0


def clamped_share(call: Call, form: Form) -> float:
    """Return the probability that a clamp moves one scalar of noise, 1 if that is unknown."""
    ends = {"clamp_min": call.args[1:2], "clamp_max": (None, *call.args[1:2])}.get(call.name.rstrip("_"), call.args[1:])
    bounds = [None if each is None else torch.as_tensor(each, dtype=torch.float64) for each in ends]
    return _neglected(form, "clamp", bounds)


def _without(form: Form, neglected: float) -> Form | None:
    """Return a form as it was before a step that is next to nothing, None if it is more than that."""
    if neglected > NEGLIGIBLE:
        return None
    form.noise.neglected += neglected * form.ids.numel()
    return form


def _after(form: Form, steps: Sequence[Step]) -> Form:
    """Return a form after some steps; what shifts or scales uniform noise by next to nothing is left out."""
    for step in steps:
        constant = step.operand.make() if step.operand is not None and step.operand.is_constant else None
        if constant is not None and bool((constant == {"add": 0.0, "mul": 1.0}.get(step.name, torch.nan)).all()):
            continue
        share = _neglected(form, step.name, [constant]) if constant is not None and step.name in ("add", "mul") else 1.0
        form = _without(form, share) or form.then(step)
    return form


def _operand(value: Any, shape: torch.Size) -> Operand:
    device = value.device if isinstance(value, Tensor) else None
    is_constant = not (isinstance(value, Tensor) and value.requires_grad)
    return Operand(lambda: torch.as_tensor(value, dtype=torch.float64, device=device).expand(shape), is_constant)
