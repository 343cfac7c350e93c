"""Which branches of min, max, abs, clip and sign the cases of a crosscheck take: numbers say nothing of one that none takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from derive.language.errors import NotEvaluable
from derive.language.estimator import Estimator
from derive.language.term import FiniteLaw, NamedLaw, RandomVariable, Sign, Term, anywhere

_SIGNS = {torch.sign, Tensor.sign}


class Branches(TorchFunctionMode):
    """Note the values of each sign that is taken, by its place among those of one evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[tuple[str, int], set[float]] = {}
        self._what, self._place = "", 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in _SIGNS:
            self.seen.setdefault((self._what, self._place), set()).update(output.detach().unique().tolist())
            self._place += 1
        return output

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Evaluate something, such as the code or the target, whose signs are always in one order."""
        self._what, self._place = what, 0
        with self:
            yield

    @property
    def are_taken(self) -> bool:
        """Whether each sign was positive somewhere and negative somewhere."""
        return bool(self.seen) and all({1.0, -1.0} <= values for values in self.seen.values())


def has_signs(estimator: Estimator) -> bool:
    """Whether a formula or its target has a sign, or what is made of signs."""
    return any(anywhere(term, lambda part: isinstance(part, Sign)) for term in (estimator.formula, estimator.target))


def has_signs_of_noise(estimator: Estimator, family: str) -> bool:
    """Whether a formula or its target jumps where noise does: a mean at nodes does not converge as a smooth one does."""
    discrete = () if family in ("normal", "vector") else (FiniteLaw,)
    return any(_has_sign_of_noise(term, discrete) for term in (estimator.formula, estimator.target))


def require_branches(estimator: Estimator, family: str, branches: Branches) -> None:
    """Refuse to say that code agrees where that is not known of all branches.

    Raises
        NotEvaluable, where a sign is that of noise, whose jump a mean at nodes does not see, or never changed.
    """
    if has_signs_of_noise(estimator, family):
        message = (
            f"{estimator.name!r} has the sign, or the least, the largest or the size, of noise: at fixed nodes its jumps are"
            " not seen, so whether code and target agree there says nothing; let the sign be one of a finite law."
        )
        raise NotEvaluable(message)
    if not branches.are_taken:
        message = (
            f"code and target of {estimator.name!r} agree, but a sign in them never changes among the cases, so the other"
            " branch of a min, max, abs or clip was not seen; ask derive.prove."
        )
        raise NotEvaluable(message)


def _has_sign_of_noise(term: Term, discrete: tuple[type, ...]) -> bool:
    def is_noise(part: Term) -> bool:
        counted = isinstance(part, RandomVariable) and isinstance(part.law, NamedLaw) and part.law.counts
        return isinstance(part, RandomVariable) and not counted and not isinstance(part.law, discrete)

    return anywhere(term, lambda part: isinstance(part, Sign) and anywhere(part.arg, is_noise))
