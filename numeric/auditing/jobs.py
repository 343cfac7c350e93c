"""Outcomes that are run in other processes, by joblib: parts of the tree of choices, each a task, in the order of one process.

Loss, objective, parameters and state are sent together, so that they share in each process what they share here. The parts and
the order in which their results are added do not depend on the number of processes, so the numbers are the same, bit for bit.
Each part begins with an outcome that was run here too, and must give the same there.
"""

from __future__ import annotations

import atexit
import os
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle
import joblib
import torch
from torch import Tensor

from derive.language.errors import GradproofError, TooLarge, UsageError
from numeric.auditing.precision import in_dtype
from numeric.draws.restoring import Start, listed, put_back
from numeric.draws.tape import SMALLER, NotAuditable, Part, Played, Tape, explore, parted
from numeric.means.runs import Runs, Seen
from numeric.state.reachable import reachable

PARTS = 64
"""So many tasks there are, or a few times as many."""

FEWEST = 500
"""Fewer outcomes are run here: another process needs seconds to begin."""

LOSS, OBJECTIVE = "loss", "objective"


@dataclass(frozen=True)
class Code:
    """What is audited, as it is sent."""

    params: dict[str, Tensor]
    functions: dict[str, Callable[[], Any]]
    state: list[Any]
    dtype: torch.dtype | None


@dataclass(frozen=True)
class Task:
    """One part of the outcomes of a function, at some values of the parameters."""

    what: str
    part: Part
    values: list[Tensor]
    budget: int
    salt: int
    frozen: int
    differentiate: bool
    threads: int
    sender: int


@dataclass(frozen=True)
class Workers:
    """Other processes: so many, and the code as it is sent to them."""

    jobs: int
    runs: Runs
    code: Code
    sent: bytes

    def explored(
        self, run: Callable[[Tape], Any], function: Callable[[], Any], budget: int, *, salt: int = 0, differentiate: bool = True
    ) -> Iterator[tuple[Tape, Any]]:
        """Yield each outcome once, in depth-first order, with what its run returned.

        Raises
            TooLarge, when there are more than the budget.
            NotAuditable, if another process computes something else.
        """
        what = next((name for name, each in self.code.functions.items() if each is function), "")
        first = Tape()
        run(first)
        if not what or first.size < FEWEST:
            return explore(run, budget)
        return self._in_parts(run, what, budget, salt=salt, differentiate=differentiate)

    def _in_parts(
        self, run: Callable[[Tape], Any], what: str, budget: int, *, salt: int, differentiate: bool
    ) -> Iterator[tuple[Tape, Any]]:
        parts = parted(run, PARTS)
        values = [param.detach().clone() for param in self.runs.params.values()]
        tasks = [
            Task(what, part, values, budget, salt, self.runs.frozen, differentiate, torch.get_num_threads(), os.getpid())
            for part, _, _ in parts
        ]
        calls = (joblib.delayed(_outcomes)(self.sent, task) for task in tasks)
        answers = joblib.Parallel(n_jobs=self.jobs, return_as="generator")(calls)
        left = budget
        with _ended(answers):
            for (_, first, here), (seen, outcomes) in zip(parts, answers, strict=True):
                self.runs.note(seen)
                _require_same(first, here, *outcomes[0])
                yield from outcomes[:left]
                left -= len(outcomes)
                if left < 0:
                    message = f"there are more than {budget} outcomes: the budget is spent. {SMALLER}"
                    raise TooLarge(message)


@contextmanager
def _ended(answers: Any) -> Iterator[None]:
    """End what is still running where an audit ends early, without the warning of joblib that it was."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            answers.close()


def workers(jobs: int, runs: Runs, code: Code) -> Workers:
    """Return other processes that run parts of some code.

    Raises
        UsageError, if the code cannot be sent to them.
    """
    runs.reset()
    try:
        with ExitStack() as stack:
            for module in _modules(code):
                cloudpickle.register_pickle_by_value(module)
                stack.callback(cloudpickle.unregister_pickle_by_value, module)
            return Workers(jobs, runs, code, cloudpickle.dumps(code))
    except Exception as error:  # what cannot be pickled says so in many ways
        message = f"jobs= sends the code to other processes, and it cannot be pickled ({error}); audit it without jobs=."
        raise UsageError(message) from error


def _modules(code: Code) -> list[ModuleType]:
    """The modules of the user's own functions: what these read there must be what is sent, not what an import makes anew."""
    found: dict[str, None] = {}
    for _, thing in reachable([*code.functions.items(), ("state", code.state)]):
        name = getattr(thing if isinstance(thing, (FunctionType, type)) else type(thing), "__module__", None)
        found[str(name)] = None
    modules = (sys.modules.get(name) for name in found)
    return [module for module in modules if module is not None and _is_users(module)]


def _is_users(module: ModuleType) -> bool:
    path = getattr(module, "__file__", None)
    if path is None or module.__name__ == "__main__" or module.__name__.partition(".")[0] in {"numeric", "derive", "gradproof"}:
        return False
    paths = sysconfig.get_paths()
    return not any(path.startswith(paths[place]) for place in ("stdlib", "platstdlib", "purelib", "platlib"))


@lru_cache(maxsize=1)
def _received(sent: bytes) -> tuple[Code, Start, Runs]:
    """The code in this process, which keeps it for all parts that it is given."""
    code: Code = cloudpickle.loads(sent)
    stack = ExitStack()
    stack.enter_context(in_dtype(code.dtype, code.params, code.state))
    runs = Runs(code.params)
    start = stack.enter_context(put_back(code.params, code.state, runs.generators, code.functions))
    atexit.register(stack.close)
    return code, start, runs


def _outcomes(sent: bytes, task: Task) -> tuple[Seen, list[tuple[Tape, Any]]]:
    """Run a part, in another process."""
    if os.getpid() == task.sender:
        message = "jobs= needs processes: threads of one process would share the parameters; choose another backend of joblib."
        raise UsageError(message)
    torch.set_num_threads(task.threads)
    code, start, first = _here(sent)
    for param, value in zip(code.params.values(), task.values, strict=True):
        param.data.copy_(value)
    runs = Runs(code.params)
    runs.generators, runs.reset, runs.frozen = first.generators, start.reset, task.frozen
    function = code.functions[task.what]

    def run(tape: Tape) -> Any:
        if task.what == LOSS:
            return runs.loss(function, tape, salt=task.salt)
        return runs.objective(function, tape, differentiate=task.differentiate)

    found: list[tuple[Tape, Any]] = [(Played(tape), result) for tape, result in explore(run, task.budget, task.part)]
    start.bystanders.require_untouched()
    return runs.seen(), found


def _here(sent: bytes) -> tuple[Code, Start, Runs]:
    try:
        return _received(sent)
    except GradproofError:
        raise
    except Exception as error:  # whatever stands in the way of making the user's objects again
        message = f"jobs= sends the code to other processes, where it cannot be made again ({error}); audit it without jobs=."
        raise UsageError(message) from error


def _require_same(tape: Tape, here: Any, there_tape: Tape, there: Any) -> None:
    if tape.outcome != there_tape.outcome or not all(map(_equal, _flat(here), _flat(there))):
        message = (
            f"another process computes something else for the draws {tape.outcome[:12]}: the code reads what is not sent with "
            "it, such as a tensor of a module that is imported anew there. Audit it without jobs=."
        )
        raise NotAuditable(message)


def _flat(result: Any) -> list[Tensor]:
    """The numbers of a run: gradients of a loss, or value and gradients of an objective."""
    if isinstance(result, tuple):
        return [torch.tensor(result[0], dtype=torch.float64), *result[1]]
    return list(result)


def _equal(here: Tensor, there: Tensor) -> bool:
    return torch.equal(here.nan_to_num(), there.nan_to_num())


def code_of(
    params: dict[str, Tensor], loss: Callable[[], Any], objective: Callable[[], Any], state: Any, dtype: torch.dtype | None
) -> Code:
    """Return what is sent."""
    return Code(params, {LOSS: loss, OBJECTIVE: objective}, listed(state), dtype)
