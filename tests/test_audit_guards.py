"""Guards of the audit that stand behind another: each is reached here by the one thing that it is for."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch

from derive.language.errors import Disagreement, TooLarge, UsageError
from numeric.auditing.audit import NotAuditable, audit, replay
from numeric.auditing.batched import digits_of
from numeric.auditing.batched_mean import CHUNK
from numeric.draws.tape import Choice, Tape

torch.set_num_threads(1)


def parameter(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


HUGE = {
    "bernoulli": lambda: torch.bernoulli(torch.full((30,), 0.5)),
    "multinomial": lambda: torch.multinomial(torch.ones(100), 30, replacement=True),
    "binomial": lambda: torch.binomial(torch.full((4,), 1000.0), torch.full((4,), 0.5)),
    "randint": lambda: torch.randint(0, 2**20, (2,)),
    "randperm": lambda: torch.randperm(20),
    "dropout": lambda: torch.native_dropout(torch.ones(30), 0.5, True)[0],
}


@pytest.mark.parametrize("name", HUGE)
def test_one_draw_with_a_huge_number_of_outcomes_is_refused_as_such(name):
    theta = parameter(0.4)
    with pytest.raises(TooLarge, match="alone has about"):
        audit(lambda: theta.sum() * HUGE[name]().sum(), theta, theta.sum)


def test_integers_without_an_end_are_refused():
    theta = parameter(0.4)
    with pytest.raises(TooLarge, match="without an upper end"):
        audit(lambda: theta.sum() * torch.zeros(1).random_().sum(), theta, theta.sum)


def test_a_choice_that_cannot_be_is_no_replay():
    theta = parameter(0.4)
    with pytest.raises(NotAuditable, match=r"which .* cannot give"):
        replay(lambda: theta.sum() * torch.bernoulli(torch.ones(1)).sum(), theta, (0,))


def test_a_law_without_a_positive_probability_is_refused():
    with pytest.raises(NotAuditable, match="none is positive"):
        Tape().choose((0.0, 0.0), "coin")


def test_a_prefix_that_is_not_played_ends_the_exploration():
    with pytest.raises(NotAuditable, match="now drew 0 times"):
        Tape([Choice("coin", (0.5, 0.5), 1)]).require_prefix_used()


def test_the_same_tensor_twice_is_refused():
    theta = parameter(0.4)
    with pytest.raises(UsageError, match="no tensor twice"):
        audit(theta.sum, [theta, theta], theta.sum)


def test_a_library_that_draws_after_the_first_outcome_only_is_found():
    theta = parameter(0.4)

    def late(draw):
        def loss():
            b = torch.bernoulli(theta.sigmoid().detach())
            if b.any():
                draw()
            return theta.sum() * b.sum()

        return loss

    for draw in (random.random, np.random.rand):
        with pytest.raises(NotAuditable, match="whose outcomes are not torch operations"):
            audit(late(draw), theta, theta.sum)
        with pytest.raises(NotAuditable, match="whose outcomes are not torch operations"):
            audit(lambda n: draw() * 0 + theta.sum() * torch.bernoulli(theta.sigmoid().expand(n, 1))[:, 0], theta,  # noqa: B023
                  lambda n: theta.sum().expand(n), batched=True)


ROWS = {
    "bits": (lambda n: torch.bernoulli(torch.ones(3).double() / 2).sum(), "does not draw one row"),
    "integers": (lambda n: torch.randint(0, 2, (3,)).sum(), "does not draw one row"),
    "dropout": (lambda n: torch.native_dropout(torch.ones(3).double(), 0.5, True)[0].sum(), "does not draw one row"),
    "selections": (lambda n: torch.multinomial(torch.ones(2 * n, 4), 2).sum(), "does not draw one row"),
    "a draw more": (lambda n: torch.randint(0, 2, (n, 1 if n == 1 else 2)).sum(), "does not draw what one row draws"),
    "a draw less": (lambda n: torch.randint(0, 2, (n, 2 if n == 1 else 1)).sum(), "does not draw what one row draws"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_batch_that_does_not_draw_its_rows_is_refused(name):
    theta, (draw, message) = parameter(0.4), ROWS[name]
    with pytest.raises(NotAuditable, match=message):
        audit(lambda n: theta.sum().expand(n) * draw(n), theta, lambda n: theta.sum().expand(n), batched=True)


def test_a_batch_that_returns_one_number_is_refused():
    theta = parameter(0.4)
    with pytest.raises(UsageError, match=r"expected a tensor of shape \(2,\)"):
        audit(lambda n: (theta * torch.randint(0, 2, (n,))).sum(), theta, lambda n: theta.sum().expand(n), batched=True)


def thresholded(theta, factor):
    """A loss that thresholds noise, times what something else than torch gives on one side of it."""

    def loss():
        x = torch.randn(1, dtype=torch.float64)
        return (theta * x * (factor() if x > 0 else 1.0)).sum()

    return loss


def test_what_changes_between_runs_is_found_by_quadrature_too():
    theta, calls = parameter(0.4), []
    with pytest.raises(NotAuditable, match="two gradients"):
        audit(lambda: calls.append(1) or thresholded(theta, lambda: 2.0)() * len(calls), theta, theta.sum)
    with pytest.raises(NotAuditable, match="numpy"):
        audit(thresholded(theta, lambda: 1 + 0 * np.random.rand()), theta, theta.sum)
    numbers = itertools.count()
    with pytest.raises(NotAuditable, match="two gradients"):
        audit(thresholded(theta, lambda: 1 + 1e-11 * next(numbers)), theta, theta.sum)


def test_breakpoints_that_leave_no_room_for_nodes_are_too_many():
    theta = parameter(0.4)

    def loss():
        u = torch.rand(())
        return theta.sum() * u * (u > torch.arange(10) / 10).sum()

    with pytest.raises(TooLarge, match="budget of 20"):
        audit(loss, theta, theta.sum, budget=20, breakpoints=[[each / 10 for each in range(1, 10)]])


def test_a_draw_that_is_missing_when_a_run_is_repeated_is_found():
    theta, calls = parameter(0.4), []

    def loss():
        calls.append(1)
        b = torch.bernoulli(theta.sigmoid().detach())
        if len(calls) <= 10:
            torch.bernoulli(torch.tensor(0.5))
        return theta.sum() * b.sum()

    with pytest.raises(NotAuditable, match="drew 2 times before now drew 1 times"):
        audit(loss, theta, theta.sum)


def third(tape):
    return 0.3 if tape.choices else 1.0


def test_probabilities_that_do_not_sum_to_one_are_a_bug_wherever_they_are_summed(monkeypatch):
    theta = parameter(0.4)

    def drawn():
        return theta.sum() * torch.randint(0, 3, ())

    def rows(n):
        return theta.sum() * torch.randint(0, 2, (n,))

    def without_the_last(choices, chunk=0):
        for digits in digits_of(choices):
            yield digits[: len(digits) - (chunk == left_out)]

    with monkeypatch.context() as patched:
        patched.setattr(Tape, "weight", property(third))
        for loss, objective in ((drawn, theta.sum), (theta.sum, drawn)):
            with pytest.raises(Disagreement, match="sum to"):
                audit(loss, theta, objective)
    monkeypatch.setattr("numeric.auditing.batched_mean.digits_of", without_the_last)
    for left_out in (0, CHUNK):  # noqa: B007
        with pytest.raises(Disagreement, match="sum to"):
            audit(rows, theta, rows, batched=True)


def test_whoever_asks_for_an_audit_is_no_law_that_checks_its_arguments():
    """What a law of torch decides in `check` is no decision of the code; an audit that it asks for is one as elsewhere."""
    module = {}
    exec(compile("def check(run):\n    return run()", "torch/distributions/constraints.py", "exec"), module)  # noqa: S102
    theta = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    objective = lambda: theta.sum() if torch.randn(1) ** 2 > theta else -theta.sum()  # noqa: E731
    for ask in (module["check"], lambda run: run()):
        with pytest.raises(NotAuditable, match="decides the outcome"):
            ask(lambda: audit(theta.sum, theta, objective))
