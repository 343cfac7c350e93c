"""The pytest plugin: audits and oracles as fixtures, with budgets and false-alarm rates from marker, option or configuration.

Every run of pytest imports this file, so it imports nothing but pytest: torch and the rest follow when a fixture is used.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

from gradproof.doors import StandsInTheWay, is_ours, open_door

if TYPE_CHECKING:
    from numeric.auditing.audit_report import AuditReport
    from numeric.checking.sequential_test import SequentialReport
    from numeric.checking.torch_oracle import TorchOracle

DEFAULTS: dict[str, Any] = {"budget": 100_000, "false_alarm_rate": 1e-9}
MARKER = "gradproof(budget=None, false_alarm_rate=None): the most outcomes of an audit, and the rate of a sequential test."
OUTCOMES, ALPHA, COMPARED = "gradproof_outcomes", "gradproof_false_alarm_rate", "gradproof_compared"
"""What a test did, as properties of its report: they reach the controller of pytest-xdist, and a JUnit file."""


# Options, configuration and marker


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and the configuration values of the same names."""
    budget = "The most outcomes that a gradproof_audit runs."
    rate = "The probability with which one sequential test of a gradproof_oracle rejects right code, at most."
    group = parser.getgroup("gradproof", "exact tests of stochastic gradients")
    group.addoption("--gradproof-budget", metavar="N", help=f"{budget} [{DEFAULTS['budget']}]")
    group.addoption("--gradproof-false-alarm-rate", metavar="RATE", help=f"{rate} [{DEFAULTS['false_alarm_rate']}]")
    parser.addini("gradproof_budget", budget, type="int", default=None)
    parser.addini("gradproof_false_alarm_rate", rate, type="float", default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Check what was given, and prepare the summary.

    Raises
        UsageError, if an option or a configuration value is no number in its range.
    """
    config.addinivalue_line("markers", MARKER)
    for name in DEFAULTS:
        _configured(config, name)
    config.pluginmanager.register(_Summary(), "gradproof_summary")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the markers before the first test runs; a worker of pytest-xdist cannot refuse the run, so there its tests fail.

    Raises
        UsageError, if a marker has another keyword than those of `DEFAULTS`, or a value out of range.
    """
    for item in () if hasattr(config, "workerinput") else items:
        _check_markers(item)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test with a wrong marker."""
    try:
        _check_markers(item)
    except pytest.UsageError as error:
        pytest.fail(str(error), pytrace=False)


def _check_markers(item: pytest.Item) -> None:
    for marker in item.iter_markers("gradproof"):
        _check_marker(marker, item.nodeid)


def _check_marker(marker: pytest.Mark, where: str) -> None:
    unknown = sorted(set(marker.kwargs) - set(DEFAULTS))
    if unknown or marker.args:
        got = ", ".join([*map(repr, marker.args), *(f"{name}=..." for name in unknown)])
        message = f"{where}: the marker gradproof takes the keywords {' and '.join(DEFAULTS)}; got {got}."
        raise pytest.UsageError(message)
    for name, value in marker.kwargs.items():
        _checked(name, value, f"{where}: {name} of the marker gradproof")


def _setting(item: pytest.Item, name: str) -> Any:
    """The value from the closest marker that has it, else from the option, else from the configuration, else the default."""
    for marker in item.iter_markers("gradproof"):
        if name in marker.kwargs:
            return marker.kwargs[name]
    return _configured(item.config, name)


def _configured(config: pytest.Config, name: str) -> Any:
    option = config.getoption(f"gradproof_{name}")
    if option is not None:
        return _checked(name, _number(option, name), f"--gradproof-{name.replace('_', '-')}", option)
    try:
        ini = config.getini(f"gradproof_{name}")
    except (TypeError, ValueError, pytest.UsageError) as error:
        message = f"gradproof_{name} of the configuration is no number: {error}."
        raise pytest.UsageError(message) from error
    return DEFAULTS[name] if ini is None else _checked(name, ini, f"gradproof_{name} of the configuration")


def _number(text: str, name: str) -> Any:
    try:
        return int(text) if name == "budget" else float(text)
    except ValueError:
        return text


def _checked(name: str, value: Any, where: str, given: Any = None) -> Any:
    number = isinstance(value, int if name == "budget" else float) and not isinstance(value, bool)
    if number and (value >= 1 if name == "budget" else 0 < value < 1):
        return value
    expected = "the most outcomes to run, a positive integer" if name == "budget" else "a number strictly between 0 and 1"
    message = f"{where} is {value if given is None else given!r}; expected {expected}, such as {DEFAULTS[name]}."
    raise pytest.UsageError(message)


# Fixtures


@pytest.fixture
def gradproof_audit(request: pytest.FixtureRequest) -> Callable[..., AuditReport]:
    """`numeric.audit` for tests: call it with loss, params and objective, or with an AuditCase; it fails if they disagree.

    The interface is that of `numeric.audit`; the budget comes from the marker, the option or the configuration unless given.
    """

    def audit(loss: Any, params: Any = None, objective: Any = None, **given: Any) -> AuditReport:
        module = _module("numeric")
        given = {"budget": _setting(request.node, "budget"), **given}
        case = loss if isinstance(loss, module.AuditCase) else module.AuditCase(loss, params, objective)
        said = {field.name: given.pop(field.name) for field in fields(case) if field.name in given}
        try:
            report: AuditReport = replace(case, **said)(**given)
        except (module.BiasedGradient, module.UndecidedAudit, module.UnexpectedVerdict, module.VacuousAudit) as error:
            record(error.report)
            raise
        record(report)
        return report

    def record(report: AuditReport) -> None:
        request.node.user_properties.append((OUTCOMES, report.outcomes))

    return audit


@pytest.fixture
def gradproof_oracle(request: pytest.FixtureRequest) -> Callable[..., TorchOracle]:
    """Load or make an oracle: call it with a JSON file of an oracle or a problem, or with a problem as a dictionary.

    A relative path starts at the directory of the test file. The answer is a `numeric.checking.torch_oracle.TorchOracle`, whose
    `check_sampler` has the false-alarm rate of the marker, the option or the configuration.
    """

    def record(report: SequentialReport | None) -> None:
        request.node.user_properties.append((COMPARED, 1) if report is None else (ALPHA, report.alpha))

    def load(source: str | Path | Mapping[str, Any]) -> TorchOracle:
        found = source if isinstance(source, Mapping) else request.path.parent / source
        alpha = _setting(request.node, "false_alarm_rate")
        made: TorchOracle = _module("numeric.checking.torch_oracle").torch_oracle(found, alpha=alpha, record=record)
        return made

    return load


def _module(name: str) -> Any:
    try:
        return open_door(name)
    except StandsInTheWay as error:
        pytest.fail(str(error), pytrace=False)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        pytest.fail("the fixtures of gradproof run torch, which is not installed; install gradproof[torch].", pytrace=False)


# Reports


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Leave our own frames out of a failure that we report: the message is the report, the frame that of the test."""
    if call.excinfo is None:
        return
    errors = sys.modules.get("derive.language.errors") if is_ours("derive") else None
    if errors is None or not isinstance(call.excinfo.value, errors.GradproofError):
        return
    if {"gradproof_audit", "gradproof_oracle"} & set(getattr(item, "fixturenames", ())):
        error = call.excinfo.value
        error.__cause__, error.__suppress_context__ = None, True
        shown = _without_ours(error.__traceback__)
        if shown is not None:
            call.excinfo = pytest.ExceptionInfo.from_exception(error.with_traceback(shown))


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    if traceback is None:
        return None
    after = _without_ours(traceback.tb_next)
    if traceback.tb_frame.f_globals.get("__name__", "").split(".")[0] in ("derive", "gradproof", "numeric"):
        return after
    return TracebackType(after, traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno)


class _Summary:
    """What the tests of a run did, by test: a test that runs again replaces what it had."""

    def __init__(self) -> None:
        self.properties: dict[str, list[tuple[str, Any]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        ours = [(name, value) for name, value in report.user_properties if name in (OUTCOMES, ALPHA, COMPARED)]
        if report.when == "teardown" and ours:
            self.properties[report.nodeid] = ours

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        text = self.text()
        if text:
            terminalreporter.write_sep("=", "gradproof")
            terminalreporter.write_line(text)

    def text(self) -> str:
        """Say what was checked, and how often right code fails it: "" where nothing was.

        >>> summary = _Summary()
        >>> summary.properties["a"] = [(OUTCOMES, 9), (OUTCOMES, 3), (ALPHA, 1e-9)]
        >>> print(summary.text())
        2 audits over 12 outcomes
        1 sequential test: right code fails it with probability at most 1e-09
        """
        found = [pair for pairs in self.properties.values() for pair in pairs]
        outcomes, rates, compared = ([value for key, value in found if key == kind] for kind in (OUTCOMES, ALPHA, COMPARED))
        lines = []
        if outcomes:
            lines.append(f"{_counted(len(outcomes), 'audit')} over {_counted(sum(outcomes), 'outcome')}")
        if compared:
            lines.append(f"{_counted(len(compared), 'gradient')} compared with the exact one")
        if rates:
            which = "it" if len(rates) == 1 else "one of them"
            rate = f"{math.fsum(rates):.3g}"
            lines.append(f"{_counted(len(rates), 'sequential test')}: right code fails {which} with probability at most {rate}")
        return "\n".join(lines)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
