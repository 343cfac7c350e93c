"""Keys that race: an argmax, a top-k or a sort of noise whose order has an exact law.

If E_i are independent and exponential of rate 1, the order of E_i / r_i is that of draws without replacement in proportion to
the weights r_i. Any increasing function of E_i / r_i has the same order, so these are the same race:

    log r + G, G of the Gumbel law         argmax(logits + gumbel)
    r / E                                  argmax(probs / exponential), as samplers of language models write it
    U ** (1 / r), U uniform                weighted sampling from a stream
    any independent equal noise            a random permutation, argsort(rand)

Source
    Gumbel (1954); Plackett (1975); Yellott (1977); Efraimidis and Spirakis (2006); Kool, van Hoof and Welling (2019)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from numeric.draws.laws.forms import Form, Step
from numeric.draws.random_ops import Call, multinomial_row_probabilities
from numeric.draws.tape import NotAuditable, Tape

FIRST = "an argmax, a top-k or a sort of continuous noise"
_STARTS = {
    "uniform": (("exp(-E/r)", 1), ("1-exp(-E/r)", 1)),
    "exponential": (("E/r", 1),),
    "normal": (("order", 1), ("order", -1)),
    "cauchy": (("order", 1), ("order", -1)),
}
_RISING = frozenset("exp log log1p expm1 sigmoid logit tanh".split())


@dataclass(frozen=True)
class Race:
    """Keys y that are a function of E / r, with r = exp(log_rate).

    Args
        start     the kind that the noise itself was taken for
        kind      "E/r", "r/E", "exp(-E/r)", "1-exp(-E/r)", "log(r/E)", or "order", where only the order is known
        sign      y is this times what `kind` says, a tensor of the shape of the keys
        log_rate  of the shape of the keys, with its graph
        equal     tensors that must not change along a race
    """

    start: str
    kind: str
    sign: Tensor
    log_rate: Tensor
    equal: tuple[Tensor, ...] = ()

    @property
    def wins(self) -> Tensor:
        """Whether the largest key comes first (+1) or the smallest (-1)."""
        return self.sign.sign() * (-1 if self.kind in ("E/r", "1-exp(-E/r)") else 1)


Change: TypeAlias = Callable[[Race, Step], Race | None]


def races(form: Form) -> list[Race]:
    """Return the ways to read a form as keys that race: one, or two of uniform noise, or none."""
    one, zero = torch.ones(form.ids.shape, dtype=torch.float64), torch.zeros(form.ids.shape, dtype=torch.float64)
    starts = _STARTS.get(form.noise.family, ())
    found: list[Race | None] = [Race(f"{sign} {kind}", kind, sign * one, zero) for kind, sign in starts]
    for step in form.steps:
        found = [None if each is None else _stepped(each, step) for each in found]
    return [each for each in found if each is not None]


def _stepped(race: Race, step: Step) -> Race | None:
    if step.name == "neg":
        return replace(race, sign=-race.sign)
    if step.name == "softmax":
        return _ordered(replace(race, equal=(*race.equal, step.value)))
    exact = _EXACT.get((race.kind, step.name))
    found = None if exact is None else exact(race, step)
    if found is not None:
        return found
    if step.name in _RISING:
        return _ordered(race)
    return _moved_alike(race, step) if step.name in ("mul", "add") else None


def _ordered(race: Race) -> Race:
    return replace(race, kind="order", sign=race.wins)


def _moved_alike(race: Race, step: Step) -> Race | None:
    """What shifts or scales all keys of a race alike leaves their order."""
    value = step.value
    moved = replace(_ordered(race), equal=(*race.equal, value.detach()))
    return moved if step.name == "add" else replace(moved, sign=moved.sign * value.detach().sign())


def _times(race: Race, step: Step) -> Race:
    t = step.value
    power = -1 if race.kind == "E/r" else 1
    sign = torch.where(t.detach() < 0, -race.sign, race.sign)
    return replace(race, log_rate=race.log_rate + power * t.abs().log(), sign=sign)


def _become(kind: str, sign: int, needed: int) -> Change:
    """A step that turns one kind into another where the sign of the keys is as needed."""

    def step(race: Race, step: Step) -> Race | None:
        return replace(race, kind=kind, sign=torch.full_like(race.sign, sign)) if _is(race, needed) else None

    return step


def _is(race: Race, needed: int) -> bool:
    return bool((race.sign == needed).all())


def _from_one(kind: str) -> Change:
    """1 - U is uniform too."""

    def step(race: Race, step: Step) -> Race | None:
        is_one = _is(race, -1) and bool((step.value == 1).all())
        return replace(race, kind=kind, sign=-race.sign) if is_one else None

    return step


def _power(race: Race, step: Step) -> Race | None:
    return replace(race, log_rate=race.log_rate - step.value.log()) if _is(race, 1) and bool((step.value > 0).all()) else None


def _shifted(race: Race, step: Step) -> Race:
    return replace(race, log_rate=race.log_rate + step.value / race.sign)


def _scaled(race: Race, step: Step) -> Race:
    return replace(race, sign=race.sign * step.value, equal=(*race.equal, step.value.detach()))


def _exponential(race: Race, step: Step) -> Race | None:
    return _become("r/E", 1, 1)(race, step) or _become("E/r", 1, -1)(race, step)


_EXACT: dict[tuple[str, str], Change] = {
    ("E/r", "mul"): _times,
    ("r/E", "mul"): _times,
    ("E/r", "reciprocal"): lambda race, step: replace(race, kind="r/E"),
    ("r/E", "reciprocal"): lambda race, step: replace(race, kind="E/r"),
    ("E/r", "log"): _become("log(r/E)", -1, 1),
    ("r/E", "log"): _become("log(r/E)", 1, 1),
    ("E/r", "exp"): _become("exp(-E/r)", 1, -1),
    ("E/r", "expm1"): _become("1-exp(-E/r)", -1, -1),
    ("exp(-E/r)", "log"): _become("E/r", -1, 1),
    ("exp(-E/r)", "add"): _from_one("1-exp(-E/r)"),
    ("exp(-E/r)", "pow"): _power,
    ("1-exp(-E/r)", "add"): _from_one("exp(-E/r)"),
    ("1-exp(-E/r)", "log1p"): _become("E/r", -1, -1),
    ("log(r/E)", "add"): _shifted,
    ("log(r/E)", "mul"): _scaled,
    ("log(r/E)", "exp"): _exponential,
}


@dataclass(frozen=True)
class Asked:
    """What an operation asks of keys: the first `count` along `dim`, from the largest or from the smallest."""

    dim: int | None
    count: int
    largest: bool
    gives_values: bool = True
    keepdim: bool = True


def asked(call: Call, keys: Tensor) -> Asked | None:
    """Return what an operation asks of keys, None if it is no question of order."""
    bound, name = call.bound, call.name
    if name in ("argmax", "argmin"):
        return Asked(bound["dim"], 1, name == "argmax", gives_values=False, keepdim=bound["keepdim"])
    if name in ("max", "min") and bound.get("dim") is not None and not isinstance(bound["dim"], Tensor):
        return Asked(bound["dim"], 1, name == "max", keepdim=bound["keepdim"])
    if name == "topk":
        return Asked(bound["dim"], bound["k"], bool(bound["largest"]))
    return Asked(bound["dim"], keys.shape[bound["dim"]], bool(bound["descending"])) if name == "sort" else None


class Ranking:
    """Keys that were ordered: of each race the weights, and who came first, as far as it was asked."""

    def __init__(self) -> None:
        self._start = ""
        self._log_rate: dict[tuple[int, ...], Callable[[], Tensor]] = {}
        self._taken: dict[tuple[int, ...], list[int]] = {}

    def answer(self, form: Form, wanted: Asked, tape: Tape) -> Tensor | None:
        """Return the indices of the keys that are asked for; None if we know no law of their order."""
        for largest in (wanted.largest, not wanted.largest):
            for reading in range(len(races(form))):
                found = self._read(form, reading, wanted, largest=largest, tape=tape)
                if found is not None:
                    return found
        return None

    def probability(self) -> Tensor:
        """Return the probability of all that was decided as a float64 scalar, differentiable in the weights."""
        product = torch.ones((), dtype=torch.float64)
        for row, taken in self._taken.items():
            weights, drawn = self._log_rate[row]().softmax(-1)[None], torch.tensor(taken)[None]
            product = product * multinomial_row_probabilities(weights, drawn, replacement=False).prod().cpu()
        return product

    def _read(self, form: Form, reading: int, wanted: Asked, *, largest: bool, tape: Tape) -> Tensor | None:
        race = races(form)[reading]
        ids, wins, *equal = (_along(each, wanted.dim) for each in (form.ids, race.wins, *race.equal))
        is_one = all(bool((each == each[..., :1]).all()) for each in equal) and bool((wins == (1 if largest else -1)).all())
        if not is_one or race.start != (self._start or race.start) or bool(race.log_rate.isnan().any()):
            return None
        size = ids.shape[-1]

        def rates() -> Tensor:
            return _along(races(form)[reading].log_rate, wanted.dim).reshape(-1, size)

        rows = [tuple(row) for row in ids.reshape(-1, size).tolist()]
        if not self._admits(rows, rates()):
            return None
        self._start = race.start
        for position, row in enumerate(rows):
            self._log_rate.setdefault(row, partial(_row_of, rates, position))
        drawn = [self._first(row, wanted.count if largest == wanted.largest else len(row), tape) for row in rows]
        found = torch.tensor(drawn, device=ids.device).reshape(*ids.shape[:-1], -1)
        return _shaped(found if largest == wanted.largest else found.flip(-1), wanted)

    def _admits(self, rows: Sequence[tuple[int, ...]], log_rates: Tensor) -> bool:
        """Whether races are new, or the same as before: no scalar of noise in two of them, and none with other weights."""
        known = {scalar for row in self._taken for scalar in row}
        fresh = [scalar for row in rows if row not in self._taken for scalar in row]
        if len(set(fresh)) < len(fresh) or not known.isdisjoint(fresh) or len(set(rows)) < len(rows):
            return False
        pairs = [(self._log_rate[row](), now) for row, now in zip(rows, log_rates, strict=True) if row in self._taken]
        return all(torch.allclose(one.softmax(-1), other.softmax(-1), rtol=1e-12, atol=0) for one, other in pairs)

    def _first(self, row: tuple[int, ...], count: int, tape: Tape) -> list[int]:
        """Draw who come next, until `count` are known."""
        taken = self._taken.setdefault(row, [])
        weights = self._log_rate[row]().detach().softmax(-1).tolist()
        for index in taken:
            weights[index] = 0.0
        while len(taken) < count:
            total = sum(weights)
            if not total > 0:
                message = f"{FIRST} asks for more keys than have a weight that is not zero."
                raise NotAuditable(message)
            taken.append(tape.choose([weight / total for weight in weights], FIRST))
            weights[taken[-1]] = 0.0
        return taken[:count]


def _row_of(rates: Callable[[], Tensor], position: int) -> Tensor:
    return rates()[position]


def _shaped(found: Tensor, wanted: Asked) -> Tensor:
    found = found[..., : wanted.count]
    if wanted.dim is None:
        return found.squeeze(-1)
    found = found.movedim(-1, wanted.dim)
    return found if wanted.keepdim else found.squeeze(wanted.dim)


def _along(values: Tensor, dim: int | None) -> Tensor:
    """Keys of a race along the last dimension; all keys are one race where no dimension is given."""
    if dim is None or values.dim() == 0:
        return values.reshape(1, -1)[0]
    return values.movedim(dim, -1)
