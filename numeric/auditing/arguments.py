"""What an audit is called with, held against what it needs before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from derive.language.errors import UsageError


def require_function(function: Any, name: str, *arguments: Any) -> Callable[..., Any]:
    """Return a function that takes these arguments.

    Raises
        UsageError, if it is something else: a loss that was already computed is the usual mistake.

    >>> require_function(abs, "loss", 3)(-3)
    3
    """
    takes = "the number of rows" if arguments else "no arguments"
    if not callable(function):
        what = type(function).__name__
        message = f"{name} is a {what}; expected a function of {takes} that runs the code, as in {name}=lambda: ..."
        raise UsageError(message)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin has none
        return cast("Callable[..., Any]", function)
    try:
        signature.bind(*arguments)
    except TypeError as error:
        message = f"{name} is called with {takes}, but takes {signature} ({error}); wrap it, as in {name}=lambda: ..."
        raise UsageError(message) from error
    return cast("Callable[..., Any]", function)


def require_budget(budget: Any, usual: int) -> None:
    """Raise UsageError unless a budget is a positive integer."""
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        message = f"budget is {budget!r}; expected the most outcomes to run, a positive integer such as {usual}."
        raise UsageError(message)


def require_jobs(jobs: Any, *, batched: bool) -> None:
    """Raise UsageError unless jobs is a number of processes, and 1 where rows are run thousands at a time."""
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs == 0:
        message = f"jobs is {jobs!r}; expected the number of processes that run outcomes, or -1 for one for each processor."
        raise UsageError(message)
    if batched and jobs != 1:
        message = "jobs= is for outcomes that are run one by one; leave it out where batched=True."
        raise UsageError(message)
