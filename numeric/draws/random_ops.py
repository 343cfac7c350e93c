"""The laws of the random operations of torch: what each can give, with which probability, and how its output is filled.

Every random aten operation carries the tag `nondeterministic_seeded`; one that has no entry here is refused by name. A handler
first makes the real draw, so that the generator moves exactly as it would without an audit, and then overwrites the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from importlib import import_module
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from derive.language.errors import TooLarge
from numeric.draws.tape import NotAuditable


class Choose(Protocol):
    """Chooses one of some options by their probabilities; those at `ends` stand for a tail that is left out behind them."""

    def __call__(self, probabilities: Sequence[float], *, ends: tuple[int, ...] = ()) -> int: ...


Factor: TypeAlias = Callable[[], Tensor]
"""The probability of what was drawn, as a float64 scalar that depends on the tensors that the operation was given."""

MOST_IN_ONE_DRAW = 2**24
TAIL = 1e-18
"""Of a law without an end, less than this is left out at each end."""

SAMPLING = "test it by sampling (numeric.sequential_test), or audit a discrete analogue"


class Operation(NamedTuple):
    """What the schema of an aten operation says, and its tags.

    Args
        name       without namespace and overload, as in "bernoulli_"
        arguments  their names
        defaults   of those that have one
        is_random  whether it draws
        decides    whether values leave torch, or the shape of the output depends on them
    """

    name: str
    arguments: tuple[str, ...]
    defaults: Mapping[str, Any]
    is_random: bool
    decides: bool


class Call:
    """One call of an aten operation; what is read of it is read once.

    Args
        operation  what is known of the operation
        name       without namespace and overload, as in "bernoulli_"
        tensors    those among the arguments, also in a list
    """

    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.operation: Operation = _operation(func)
        self.name: str = self.operation.name
        self.tensors: list[Tensor] = _tensors_in((*args, *kwargs.values()) if kwargs else args)

    @cached_property
    def bound(self) -> Mapping[str, Any]:
        """The arguments by name, with the defaults: torch leaves out an argument that equals its default."""
        return {**self.operation.defaults, **dict(zip(self.operation.arguments, self.args, strict=False)), **self.kwargs}

    def __call__(self) -> Any:
        """Make the call, as it stands."""
        return self.func(*self.args, **self.kwargs)


def _tensors_in(values: tuple[Any, ...]) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += [each for each in value if isinstance(each, Tensor)]
    return found


_DECIDING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


@cache
def _operation(func: Any) -> Operation:
    name, schema, tags = str(func._schema.name).removeprefix("aten::"), func._schema.arguments, func.tags
    defaults = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    is_random, decides = torch.Tag.nondeterministic_seeded in tags, not _DECIDING.isdisjoint(tags)
    return Operation(name, tuple(argument.name for argument in schema), defaults, is_random, decides)


def _filled(output: Tensor, values: Sequence[Any]) -> Tensor:
    return output.copy_(torch.tensor(values, dtype=torch.float64).reshape(output.shape).to(output))


def _require_size(call: Call, logarithm: float) -> None:
    if logarithm > math.log(MOST_IN_ONE_DRAW):
        message = (
            f"{call.name} alone has about 10**{logarithm / math.log(10):.0f} outcomes, which nobody can enumerate; audit a "
            "smaller "
            f"case, or {SAMPLING}."
        )
        raise TooLarge(message)


def _bernoulli(call: Call, choose: Choose) -> tuple[Tensor, Factor]:
    """Each element is one with its own probability, independently."""
    bound = call.bound
    law = bound["p"] if "p" in bound else bound["self"]
    law = law.clone() if call.name.endswith("_") and law is bound["self"] else law
    output: Tensor = call()
    probability = torch.as_tensor(law, dtype=torch.float64).broadcast_to(output.shape).reshape(-1).tolist()
    _require_size(call, math.log(2) * sum(0 < p < 1 for p in probability))
    drawn = [choose((1 - p, p)) for p in probability]
    return _filled(output, drawn), lambda: bernoulli_probability(law, torch.tensor(drawn).reshape(output.shape))


def bernoulli_probability(law: Tensor | float, drawn: Tensor) -> Tensor:
    """Return the probability of independent bits as a float64 scalar, differentiable in the law.

    >>> bernoulli_probability(torch.tensor([0.25, 0.5]), torch.tensor([1, 0]))
    tensor(0.1250, dtype=torch.float64)
    """
    p = torch.as_tensor(law, dtype=torch.float64).broadcast_to(drawn.shape)
    return torch.where(drawn.to(p.device).bool(), p, 1 - p).prod()


def _multinomial(call: Call, choose: Choose) -> tuple[Tensor, Factor]:
    """Rows of indices, each in proportion to the weights; without replacement a taken index has weight zero afterwards."""
    weights: Tensor = call.bound["self"]
    replacement = bool(call.bound.get("replacement", False))
    output: Tensor = call()
    table = weights.detach().double().reshape(-1, weights.shape[-1])
    rows, count = table.cpu().numpy(), output.shape[-1]
    _require_size(call, sum(count * math.log(max(1, positive)) for positive in (table > 0).sum(-1).tolist()))
    drawn = [_indices(row, count, choose, replacement=replacement) for row in rows]
    return _filled(output, drawn), lambda: multinomial_probability(weights, torch.tensor(drawn), replacement=replacement)


def _indices(weights: Any, count: int, choose: Choose, *, replacement: bool) -> list[int]:
    left, drawn = weights.copy(), list[int]()
    for _ in range(count):
        drawn.append(choose((left / math.fsum(left.tolist())).tolist()))
        if not replacement:
            left[drawn[-1]] = 0.0
    return drawn


def multinomial_probability(weights: Tensor, drawn: Tensor, *, replacement: bool) -> Tensor:
    """Return the probability of rows of ordered indices as a float64 scalar, differentiable in the weights.

    Without replacement the second of two indices is drawn from what the first has left:

    >>> multinomial_probability(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([[2, 0]]), replacement=False)
    tensor(0.2500, dtype=torch.float64)
    """
    return multinomial_row_probabilities(weights, drawn, replacement=replacement).prod()


def multinomial_row_probabilities(weights: Tensor, drawn: Tensor, *, replacement: bool) -> Tensor:
    """Return the probability of each row of ordered indices, (rows,) in float64, differentiable in the weights."""
    rows = weights.double().reshape(-1, weights.shape[-1])
    drawn, probability = drawn.to(rows.device), rows.new_ones(len(rows))
    for place, column in enumerate(drawn.unbind(-1)):
        left = rows if replacement or not place else rows.scatter(1, drawn[:, :place], 0)
        probability = probability * left.gather(1, column[:, None])[:, 0] / left.sum(-1)
    return probability


def _binomial(call: Call, choose: Choose) -> tuple[Tensor, Factor]:
    counts, law = call.bound["count"], call.bound["prob"]
    output: Tensor = call()
    pairs = list(zip(counts.double().expand_as(output).reshape(-1).tolist(), _flat(law, output), strict=True))
    _require_size(call, sum(math.log(n + 1) for n, _ in pairs))
    drawn = [choose(_binomial_weights(int(n), p)) for n, p in pairs]
    before = law.detach().double().clone().expand_as(output)
    chances = [_binomial_weights(int(n), p)[k] for k, (n, p) in zip(drawn, pairs, strict=True)]
    weights = torch.tensor(chances, dtype=torch.float64)

    def factor() -> Tensor:
        """The weights as numbers, times what changes with the law: p**k alone is zero for many trials."""
        k, p = torch.tensor(drawn, device=output.device).reshape(output.shape), law.double()
        ones = (p / torch.where(before == 0, 1.0, before)) ** k
        zeros = ((1 - p) / torch.where(before == 1, 1.0, 1 - before)) ** (counts.double() - k)
        each: Tensor = weights.to(output.device).reshape(output.shape) * ones * zeros
        return each.prod()

    return _filled(output, drawn), factor


def _poisson(call: Call, choose: Choose) -> tuple[Tensor, Factor]:
    rate = call.bound["self"]
    output: Tensor = call()
    drawn = [_first_integers(choose, poisson_law(each)) for each in rate.double().reshape(-1).tolist()]
    count = torch.tensor(drawn, dtype=torch.float64).reshape(output.shape)
    return _filled(output, drawn), lambda: poisson_probability(rate.double().cpu(), count).prod()


def poisson_probability(rate: Tensor, count: Tensor) -> Tensor:
    """Return the probability of each count as float64, differentiable in the rate.

    >>> float(poisson_probability(torch.tensor(0.0), torch.tensor(0.0)))
    1.0
    """
    count = count.double()
    probability: Tensor = (torch.special.xlogy(count, rate.double()) - rate - torch.lgamma(count + 1)).exp()
    return probability


def _geometric(call: Call, choose: Choose) -> tuple[Tensor, None]:
    """The number of trials until the first success: 1, 2, ..."""
    p = float(call.bound["p"])
    output: Tensor = call()
    last = 0 if p == 1 else math.ceil(math.log(TAIL) / math.log1p(-p))
    law = [p * (1 - p) ** k for k in range(last + 1)]
    return _filled(output, [1 + _first_integers(choose, law) for _ in range(output.numel())]), None


def poisson_law(rate: float) -> list[float]:
    """Return the probabilities of 0, 1, ... up to where less than `TAIL` is left.

    >>> round(sum(poisson_law(3.0)), 12), len(poisson_law(3.0)) < 40
    (1.0, True)
    """
    last = math.ceil(rate) + 1
    while rate > 0 and last * math.log(rate) - rate - math.lgamma(last + 1) > math.log(TAIL * (1 - rate / (last + 1))):
        last += 1
    law: list[float] = poisson_probability(torch.tensor(rate, dtype=torch.float64), torch.arange(last + 1)).tolist()
    return law


def _first_integers(choose: Choose, law: list[float]) -> int:
    return choose(law, ends=(len(law) - 1,))


@lru_cache(maxsize=64)
def _binomial_weights(trials: int, p: float) -> tuple[float, ...]:
    binom = import_module("scipy.stats").binom  # takes as long to import as many an audit takes
    return tuple(binom.pmf(range(trials + 1), trials, p).tolist())


def _flat(law: Tensor, output: Tensor) -> list[float]:
    values: list[float] = law.detach().double().expand_as(output).reshape(-1).tolist()
    return values


def _integers(call: Call, choose: Choose) -> tuple[Tensor, None]:
    """Each element is uniform on the integers of [low, high)."""
    bound = call.bound
    low, high = int(bound.get("low", bound.get("from")) or 0), bound.get("high", bound.get("to"))
    if high is None or isinstance(high, Tensor):
        message = f"{call.name} without an upper end has 2**24 values or more; draw torch.randint(low, high) in a small range."
        raise TooLarge(message)
    output: Tensor = call()
    size = int(high) - low
    _require_size(call, output.numel() * math.log(max(size, 1)))
    return _filled(output, [low + choose([1 / size] * size) for _ in range(output.numel())]), None


def _permutation(call: Call, choose: Choose) -> tuple[Tensor, None]:
    output: Tensor = call()
    size = output.numel()
    _require_size(call, math.lgamma(size + 1))
    left = list(range(size))
    return _filled(output, [left.pop(choose([1 / len(left)] * len(left))) for _ in range(size)]), None


def _dropout(call: Call, choose: Choose) -> tuple[tuple[Tensor, Tensor], None]:
    bound = call.bound
    kept, mask = call()
    p = float(bound["p"])
    if bound.get("train") is False or p == 0:
        return (kept, mask), None
    _require_size(call, math.log(2) * mask.numel() * (0 < p < 1))
    _filled(mask, [choose((p, 1 - p)) for _ in range(mask.numel())])
    scale = 0.0 if p == 1 else 1 / (1 - p)
    return (bound["input"] * mask * scale, mask), None


Handler: TypeAlias = Callable[[Call, Choose], tuple[Any, Factor | None]]

DISCRETE: dict[str, Handler] = {
    "bernoulli": _bernoulli,
    "bernoulli_": _bernoulli,
    "multinomial": _multinomial,
    "binomial": _binomial,
    "poisson": _poisson,
    "geometric": _geometric,
    "geometric_": _geometric,
    "randint": _integers,
    "randint_like": _integers,
    "random": _integers,
    "random_": _integers,
    "randperm": _permutation,
    "native_dropout": _dropout,
}

NOISE = {
    "rand": "uniform",
    "rand_like": "uniform",
    "uniform": "uniform",
    "uniform_": "uniform",
    "randn": "normal",
    "randn_like": "normal",
    "normal": "normal",
    "normal_": "normal",
    "normal_functional": "normal",
    "exponential": "exponential",
    "exponential_": "exponential",
    "cauchy": "cauchy",
    "cauchy_": "cauchy",
    "log_normal": "log_normal",
    "log_normal_": "log_normal",
    "_standard_gamma": "gamma",
    "_sample_dirichlet": "dirichlet",
}
"""Continuous laws, by operation: their draws are frozen."""

_ATTENTION = (
    "_fused_sdp_choice",
    "scaled_dot_product_attention",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)


def draws_nothing(call: Call) -> bool:
    """Whether an operation that can draw does not, because its dropout is off.

    >>> draws_nothing(Call(torch.ops.aten.dropout.default, (torch.zeros(1), 0.5, False), {}))
    True
    """
    bound = call.bound
    if call.name in _ATTENTION:
        return float(bound.get("dropout_p", 0.0)) == 0
    if call.name in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"):
        return bound.get("train") is False or float(bound["p"]) == 0
    return call.name.startswith("rrelu") and bound.get("training", False) is False


def refusal(call: Call) -> NotAuditable:
    """Return the error for a random operation whose outcomes cannot be enumerated."""
    message = (
        f"{call.func} draws at random and has no finite list of outcomes that gradproof knows; expected one of "
        f"{_listed(DISCRETE)}, or pathwise noise ({_listed(NOISE)}). Draw by one of them, or {SAMPLING}."
    )
    return NotAuditable(message)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name.rstrip("_") for name in names if not name.startswith("_")))
