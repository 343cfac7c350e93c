"""The command `gradproof`, the part that works without torch: list, prove, explain, variance.

A command returns its exit status: 0 it holds, 1 it does not, 2 bad usage or input, 3 undecided; of several answers the worst:
1, 2, 3, 0. `gradproof` alone prints the usage on standard error and exits 2, as it is no answer. `run` is the one place where
an error of the user becomes one line on standard error and status 2; any other exception is a bug of ours, with its traceback.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

import derive
from derive.catalogue import catalogue
from derive.cli import paper
from derive.cli.paper import Bibtex, Fragment, Notation, Width
from derive.cli.sweeps import Backend, Jobs, Results, Sweeping
from derive.cli.terminal import Quiet, console, example, tracked, worst
from derive.display import as_text, sheet
from derive.language.errors import GradproofError, UsageError
from derive.language.estimator import Estimator
from derive.printing import text
from derive.printing.paper import COLUMN
from derive.samples.statistic import EVERY
from derive.verdicts.loading import load_all
from derive.verdicts.sweep import proved
from derive.verdicts.verdict import EXIT, Verdict

VERDICTS = "gradproof/verdicts/1"
FEWEST_OUTCOMES, MOST_OUTCOMES, MOST_SAMPLES = 2, 12, 8

app: typer.Typer = typer.Typer(
    name="gradproof",
    help="Prove or refute stochastic gradient estimators, exactly.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit status: 0 it holds, 1 it does not, 2 bad usage or input, 3 undecided; of several the worst: 1, 2, 3, 0.\n\n"
    + example("gradproof prove rebar"),
)

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="A catalogue name, or path/to/file.py:object.")]
OneOrMany: TypeAlias = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="A catalogue name, path/to/file.py:object, or path/to/file.py for all of it."),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
Output: TypeAlias = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file.")]
Outcomes: TypeAlias = Annotated[int | None, typer.Option(metavar="K", help="Check exactly on 2 to K outcomes.")]
Samples: TypeAlias = Annotated[int | None, typer.Option(metavar="S", help="The number of samples, where it can vary.")]
SamplesOrEvery: TypeAlias = Annotated[
    str | None, typer.Option(metavar="S", help="The number of samples, where it can vary; every: all numbers at once.")
]
Accept: TypeAlias = Annotated[Literal["checked"] | None, typer.Option(help="Exit with 0 where the verdict is this word.")]
At: TypeAlias = Annotated[
    list[str] | None, typer.Option("--at", metavar="NAME=VALUE", help="A value at the point, as 'p(1)=1/3'; may be repeated.")
]
Plot: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE.svg", help="Draw it over the probability of a coin, beside that of the score function."),
]

DRAWING: dict[str, Callable[[Estimator], str]] = {}
"""What a command draws, as SVG: the package above has the plots, and enters them here."""

_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40}|/\d{1,40})?")
_COLOURS = {
    "proved": "green",
    "checked": "cyan",
    "scaled": "yellow",
    "other-target": "yellow",
    "refuted": "red",
    "vacuous": "magenta",
    "undecided": "magenta",
}


def _version(wanted: bool) -> None:
    if wanted:
        write(f"gradproof {metadata.version('gradproof')}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _gradproof(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Prove or refute stochastic gradient estimators, exactly."""
    if context.invoked_subcommand is None:
        sys.stderr.write(f"{context.get_help()}\n")
        raise typer.Exit(2)


@app.command("list", epilog=example("gradproof list"))
def list_(*, as_json: Json = False, quiet: Quiet = False) -> int:
    """List the catalogue, with the verdict that each estimator should get and its source."""
    estimators = list(catalogue.values())
    if as_json:
        fields = ("name", "verdict", "summary", "source")
        rows = [{field: getattr(estimator, field) for field in fields} for estimator in estimators]
        return _answer({"schema": "gradproof/catalogue/1", "estimators": rows})
    if quiet:
        return _lines((estimator.name, estimator.verdict) for estimator in estimators)
    table = Table("name", "verdict", "summary", "source", box=None, pad_edge=False, header_style="bold")
    for estimator in estimators:
        table.add_row(Text(estimator.name), _verdict(estimator.verdict), Text(estimator.summary), Text(estimator.source))
    _print(table)
    return 0


@app.command(epilog=example("gradproof prove score-function --outcomes 3"))
def prove(
    name: OneOrMany = None,
    *,
    outcomes: Outcomes = None,
    samples: SamplesOrEvery = None,
    everything: Annotated[bool, typer.Option("--all", help="Prove the whole catalogue.")] = False,
    accept: Accept = None,
    notation: Notation = "text",
    fragment: Fragment = False,
    width: Width = COLUMN,
    bibtex: Bibtex = False,
    jobs: Jobs = None,
    results: Results = None,
    backend: Backend = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Decide whether an estimator is unbiased; if not, by exactly how much.

    Of a file without :object every estimator is judged, and the status is the worst.
    """
    if everything == (name is not None):
        message = "prove takes a NAME, or --all for the whole catalogue: exactly one of them."
        raise UsageError(message)
    if paper.asked_for(notation, fragment=fragment, bibtex=bibtex):
        return _paper(_one(name), lambda estimator: paper.proved(estimator, width), bibtex=bibtex)
    options, sweeping = _sizes(outcomes, samples), Sweeping(jobs, results, backend)
    if everything:
        return _prove_all(options, sweeping, as_json=as_json, quiet=quiet)
    number = options.get("samples")
    found = load_all(str(name), None if number == EVERY else number)
    if str(name) not in found and sweeping.asked_for:
        return _sweep_file(list(found), options, sweeping, accept, as_json=as_json, quiet=quiet)
    sweeping.refuse(str(name))
    if number != EVERY:
        options.pop("samples", None)
    if str(name) not in found:
        return _prove_file(found, options, accept, as_json=as_json, quiet=quiet)
    verdict = derive.prove(found[str(name)], **options)
    if as_json:
        _answer(verdict.to_json())
    else:
        _show(verdict, quiet=quiet)
    return _status(verdict, accept)


def _status(verdict: Verdict, accept: str | None) -> int:
    return 0 if verdict.verdict == accept else verdict.exit_code


@app.command(epilog=example("gradproof explain score-function --format markdown"))
def explain(
    name: Name,
    *,
    format_: Annotated[Literal["text", "markdown", "latex", "html"], typer.Option("--format", help="The notation.")] = "text",
    fragment: Fragment = False,
    width: Width = COLUMN,
    bibtex: Bibtex = False,
    output: Output = None,
) -> int:
    """Print the derivation of an estimator, step by step, with the rule and the premises of every step."""
    if paper.asked_for(format_, fragment=fragment, bibtex=bibtex):
        return _paper(name, lambda estimator: paper.explained(estimator, width), output, bibtex=bibtex)
    deliver(derive.explain(derive.load(name), format=format_), output)
    return 0


def _paper(name: str, write: Callable[[Estimator], str], output: Path | None = None, *, bibtex: bool) -> int:
    deliver(paper.written(derive.load(name), write, bibtex=bibtex), output)
    return 0


def _one(name: str | None) -> str:
    if name is None:
        message = "what is for a paper is written of one estimator: give its NAME."
        raise UsageError(message)
    return name


@app.command(epilog=example("gradproof variance score-function --at 'p(1)=1/3'"))
def variance(
    name: OneOrMany = None,
    *,
    outcomes: Outcomes = None,
    at: At = None,
    everything: Annotated[bool, typer.Option("--all", help="List the whole catalogue at its default points.")] = False,
    notation: Notation = "text",
    fragment: Fragment = False,
    width: Width = COLUMN,
    bibtex: Bibtex = False,
    plot: Plot = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Print the exact variance of an estimator, as a formula and at a point; what the point leaves open has a default."""
    count = FEWEST_OUTCOMES if outcomes is None else _outcomes(outcomes)
    if everything == (name is not None) or (everything and (at or plot)):
        message = "variance takes a NAME, with --at or --plot, or --all for the whole catalogue at its default points."
        raise UsageError(message)
    if plot is not None:
        deliver(DRAWING["variance"](derive.load(str(name))), plot)
    if paper.asked_for(notation, fragment=fragment, bibtex=bibtex):
        return _paper(_one(name), lambda estimator: paper.varied(estimator, count, width), bibtex=bibtex)
    if everything:
        return _all_variances(list(catalogue.values()), count, as_json=as_json, quiet=quiet)
    found = load_all(str(name))
    if str(name) not in found and not at:
        return _all_variances(list(found.values()), count, as_json=as_json, quiet=quiet)
    if str(name) not in found:
        message = f"--at is for one estimator: name it as {name}:object."
        raise UsageError(message)
    report = derive.variance(found[str(name)], count, dict(_assigned(text) for text in at or ()))
    if as_json:
        return _answer(report.to_json())
    write(f"{report.estimator.name}: {report.shown}\n" if quiet else f"{report}\n")
    return 0


def run(application: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    >>> run(app, ["explain"])
    2
    """
    try:
        status = application(args=None if arguments is None else list(arguments), prog_name="gradproof", standalone_mode=False)
    except GradproofError as error:
        return _complain(str(error))
    except typer.TyperException as error:
        return _complain(error.format_message())
    except typer.Abort:
        return 130
    except SystemExit as error:
        if _completing(sys.argv[1:] if arguments is None else arguments):
            return error.code if isinstance(error.code, int) else 0
        return _complain("the program that was named has ended the process, by sys.exit or the like.")
    return status if isinstance(status, int) else 0


def _completing(arguments: Sequence[str]) -> bool:
    """Whether a shell asks for completions, or for the script that does."""
    return "_GRADPROOF_COMPLETE" in os.environ or bool({"--install-completion", "--show-completion"} & set(arguments[:1]))


def write(text: str) -> None:
    """Print a text; if its reader has gone, the rest is not needed and the status of the command stays what it is."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def deliver(text: str, output: Path | None) -> None:
    """Print a text, or write it to a file at once and as a whole: a reader sees the old file or the new one.

    Raises
        UsageError, if the file cannot be written; then nothing is.
    """
    if output is None:
        write(text if text.endswith("\n") else text + "\n")
        return
    target = output.resolve()
    try:
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
        else:
            _replace(target, text)
    except OSError as error:
        message = f"cannot write {output}: {error.strerror or error}."
        raise UsageError(message) from error


def _replace(target: Path, text: str) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _complain(message: str) -> int:
    sys.stderr.write(f"gradproof: {' '.join(message.split())}\n")
    return 2


def _answer(value: object) -> int:
    write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    return 0


def _print(*parts: RenderableType) -> None:
    page = console(width=120)
    with page.capture() as captured:
        for part in parts:
            page.print(part)
    write(re.sub(r" +$", "", captured.get(), flags=re.MULTILINE))  # a table fills its lines up with spaces


def _lines(rows: Iterable[tuple[str, str]]) -> int:
    """Print one line each."""
    _print(*(Text.assemble(name, ": ", _verdict(said)) for name, said in rows))
    return 0


def _verdict(verdict: str) -> Text:
    return Text(verdict, style=_COLOURS.get(verdict, ""))


def _outcomes(outcomes: int) -> int:
    if FEWEST_OUTCOMES <= outcomes <= MOST_OUTCOMES:
        return outcomes
    message = f"--outcomes must be from {FEWEST_OUTCOMES} to {MOST_OUTCOMES}, which is feasible exactly; got {outcomes}."
    raise UsageError(message)


def _assigned(text: str) -> tuple[str, Fraction]:
    name, equals, number = (part.strip() for part in text.partition("="))
    if not (name and equals and _NUMBER.fullmatch(number)) or re.search(r"/0+$", number):
        message = f"--at takes NAME=VALUE with an exact number, such as 'p(1)=1/3'; got {text!r}."
        raise UsageError(message)
    return name, Fraction(number)


def _sizes(outcomes: int | None, samples: str | None) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    if outcomes is not None:
        sizes["outcomes"] = tuple(range(FEWEST_OUTCOMES, _outcomes(outcomes) + 1))
    if samples == EVERY:
        sizes["samples"] = samples
    elif samples is not None:
        if not re.fullmatch("[0-9]{1,9}", samples) or not 1 <= int(samples) <= MOST_SAMPLES:
            message = f"--samples must be from 1 to {MOST_SAMPLES}, which is feasible exactly, or {EVERY}; got {samples}."
            raise UsageError(message)
        sizes["samples"] = int(samples)
    return sizes


def _prove_all(options: dict[str, Any], sweeping: Sweeping, *, as_json: bool, quiet: bool) -> int:
    verdicts, errors = _swept(list(catalogue), options, sweeping, shown=not (as_json or quiet))
    if as_json:
        _answer({"schema": VERDICTS, "verdicts": list(verdicts.values())})
    else:
        _table(verdicts, quiet=quiet, declared=True)
    complain_of(errors)
    right = all(verdict["verdict"] == catalogue[name].verdict for name, verdict in verdicts.items())
    return worst([0 if right else 1, *(2 for _ in errors)])


def _sweep_file(
    names: list[str], options: dict[str, Any], sweeping: Sweeping, accept: str | None, *, as_json: bool, quiet: bool
) -> int:
    verdicts, errors = _swept(names, options, sweeping, shown=not (as_json or quiet))
    if as_json:
        answers = [{"object": name} | verdict for name, verdict in verdicts.items()]
        _answer({"schema": VERDICTS, "verdicts": answers, "errors": reasons(errors)})
    else:
        _table(verdicts, quiet=quiet, declared=False)
    complain_of(errors)
    words = [verdict["verdict"] for verdict in verdicts.values()]
    return worst([*(0 if word == accept else EXIT[word] for word in words), *(2 for _ in errors)])


def _swept(
    names: list[str], options: dict[str, Any], sweeping: Sweeping, *, shown: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the verdicts of many estimators in the form of the contract, and why others have none."""
    answers = sweeping.answers(partial(proved, **options), names, shown=shown, doing="proving")
    verdicts = {answer.name: answer.value for answer in answers if not answer.error}
    return verdicts, {answer.name: answer.error for answer in answers if answer.error}


def _table(verdicts: dict[str, dict[str, Any]], *, quiet: bool, declared: bool) -> None:
    if quiet:
        _lines((name, verdict["verdict"]) for name, verdict in verdicts.items())
        return
    columns = ("name", "verdict", *(("declared",) if declared else ()), "holds for")
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for name, verdict in verdicts.items():
        should = (_verdict(catalogue[name].verdict),) if declared else ()
        table.add_row(Text(name), _verdict(verdict["verdict"]), *should, Text(verdict["holds_for"]))
    _print(table)


def _prove_file(found: dict[str, Estimator], options: dict[str, Any], accept: str | None, *, as_json: bool, quiet: bool) -> int:
    """Judge every estimator of a file; one that cannot be judged does not keep the others from it."""
    verdicts: dict[str, Verdict] = {}
    errors: dict[str, str] = {}
    for name, estimator in tracked(list(found.items()), shown=not (as_json or quiet), doing="proving"):
        try:
            verdicts[name] = derive.prove(estimator, **options)
        except GradproofError as error:
            errors[name] = str(error)
    if as_json:
        answers = [{"object": name} | verdict.to_json() for name, verdict in verdicts.items()]
        _answer({"schema": VERDICTS, "verdicts": answers, "errors": reasons(errors)})
    for name, verdict in () if as_json else verdicts.items():
        _show(verdict, quiet=quiet, name=name)
    complain_of(errors)
    return worst([*(_status(verdict, accept) for verdict in verdicts.values()), *(2 for _ in errors)])


def reasons(errors: dict[str, str]) -> list[dict[str, str]]:
    """Return as JSON values what could not be judged, and why."""
    return [{"object": name, "reason": reason} for name, reason in errors.items()]


def complain_of(errors: dict[str, str]) -> None:
    """Say on standard error what could not be judged, one line each."""
    for name, reason in errors.items():
        _complain(f"{name}: {reason}")


def _all_variances(estimators: Sequence[Estimator], outcomes: int, *, as_json: bool, quiet: bool) -> int:
    each = tracked(estimators, shown=not (as_json or quiet), doing="integrating")
    reports = [derive.variance(estimator, outcomes) for estimator in each]
    if as_json:
        return _answer({"schema": "gradproof/variances/1", "reports": [report.to_json() for report in reports]})
    if quiet:
        return _lines((report.estimator.name, report.shown) for report in reports)
    table = Table("name", "at the default point", box=None, pad_edge=False, header_style="bold")
    for report in reports:
        table.add_row(Text(report.estimator.name), Text(report.shown))
    _print(table)
    return 0


def _show(verdict: Verdict, *, quiet: bool, name: str = "") -> None:
    called = f"{name} ({verdict.estimator.name})" if name else verdict.estimator.name
    if quiet:
        _lines([(called, verdict.verdict)])
        return
    _show_verdict(verdict, called)
    if verdict.derivation is not None and verdict.found:
        write("\n".join(text.steps(verdict.derivation, verdict.estimator.where)) + "\n")


def _show_verdict(verdict: Verdict, name: str) -> None:
    table = Table.grid(padding=(0, 2))
    for label, cell in sheet(verdict).labelled():
        table.add_row(Text(label, style="dim"), Text(as_text(cell)))
    _print(Text.assemble((name, "bold"), ": ", _verdict(verdict.verdict)), table)
