"""The directives of `gradproof.sphinx`. A name is one of the catalogue, or FILE.py:OBJECT, with the file beside the page."""

from __future__ import annotations

import re
import warnings
from base64 import b64encode
from collections.abc import Iterable
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StateMachine
from jinja2 import Environment

import derive
from derive.language.errors import GradproofError, UsageError
from derive.language.estimator import Estimator
from derive.printing import html
from derive.printing.layout import Condition, Where
from derive.proofs.calc import Line
from derive.verdicts.loading import split
from derive.verdicts.verdict import Verdict
from derive.written.block import WrongStep, check
from derive.written.page import Unreadable
from gradproof.sphinx import asked, ran, refuse

_OPTION = re.compile(r":([\w-]+):\s+(\S.*)")
_TEMPLATES = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)

_LINES = _TEMPLATES.from_string("""\
<div class="derivation"><ol>
{% for reason, math in lines %}
<li>{% if reason %}<div class="rule">= by {{ reason }}</div>{% endif %}
<div class="formula" tabindex="0">{{ math | safe }}</div></li>
{% endfor %}
</ol>
{% for condition in assumed %}
<div class="needs">assumes: {{ condition }}</div>
{% endfor %}
</div>
""")

_PLOT = _TEMPLATES.from_string("""\
<figure class="gradproof-plot">
<img alt="{{ figure.title }}: {{ labels }}." src="data:image/svg+xml;base64,{{ data }}">
<figcaption>{{ figure.caption }}</figcaption>
</figure>
""")


class Asked(Directive):  # type: ignore[misc]
    """What is asked when a page is built; what is refused is an error with its file and line.

    Docutils and MyST only warn of an option that is misspelled or of an argument too many, and leave the directive out or go on
    without the option. So they are told that everything is allowed, and what is written is read here.
    """

    optional_arguments: ClassVar[int] = 1
    final_argument_whitespace: ClassVar[bool] = True
    has_content: ClassVar[bool] = True
    knows: ClassVar[tuple[str, ...]] = ()
    target: str = ""

    def run(self) -> list[nodes.Node]:
        env = self.state.document.settings.env
        try:
            self.read()
            shown = self.answer()
        except (WrongStep, Unreadable) as error:
            refuse(env, str(error), self._at(error.line))
        except GradproofError as error:
            refuse(env, str(error), self._at(self.lineno))
        except (Exception, SystemExit) as error:  # of what the page names: it is the user's own program
            refuse(env, f"{type(error).__name__}: {error}", self._at(self.lineno))
        else:
            return shown
        finally:
            asked(env, files=split(self.target)[0] is not None)
        return []

    def read(self) -> None:
        """Read the name and the options.

        Raises
            UsageError, if there is no name, an option is unknown, said twice or without a word, or anything else is written.
        """
        self.target, *lines = "\n".join(self.arguments).splitlines() or [""]
        for line in filter(str.strip, (*lines, *self.content)):
            found = _OPTION.fullmatch(line.strip())
            if found is None or found[1] not in self.knows or found[1] in self.options:
                known = f"the options of {self.name} are {', '.join(self.knows)}" if self.knows else "it has no options"
                message = f"expected ':option: word', each option once, and nothing else; {known}; got {line.strip()!r}."
                raise UsageError(message)
            self.options[found[1]] = found[2]
        if len(self.target.split()) != 1:
            message = f"{self.name} needs one name, of the catalogue or as FILE.py:OBJECT; got {self.target!r}."
            raise UsageError(message)

    def _at(self, line: int) -> str:
        source, found = self.state_machine.get_source_and_line(line)
        return f"{source}:{found}"

    def answer(self) -> list[nodes.Node]:
        """Return what the page shows."""
        raise NotImplementedError

    def named(self) -> str:
        """Return the name that is asked about; the page is built again when its file changes."""
        path, attribute = split(self.target)
        if path is None:
            return self.target
        env = self.state.document.settings.env
        relative, found = env.relfn2path(str(path))
        env.note_dependency(relative)
        return str(found) if attribute is None else f"{found}:{attribute}"

    def estimator(self) -> Estimator:
        """Return the estimator that is named."""
        return derive.load(self.named())

    def expect(self, found: str, declared: str) -> None:
        """Demand the word that the page says.

        Raises
            UsageError, if another was found.
        """
        said = self.options.get("expect", declared)
        if found != said:
            message = f"{self.target} is {found}, and the page says {said}: mend one of them, or say ':expect: {found}'."
            raise UsageError(message)


class Proved(Asked):
    """What needs the verdict on an estimator; it must be the word that the page says, or the estimator declares."""

    knows: ClassVar[tuple[str, ...]] = ("expect",)

    def verdict(self) -> Verdict:
        """Return the verdict."""
        estimator = self.estimator()
        verdict = derive.prove(estimator)
        self.expect(verdict.verdict, estimator.verdict)
        return verdict


class EstimatorPage(Proved):
    """`estimator NAME`: what is drawn, the formula and its target, the derivation and the verdict."""

    def answer(self) -> list[nodes.Node]:
        verdict = self.verdict()
        body = html.body(verdict.estimator, verdict.derivation, verdict.conclusion)
        return [_raw(f'<div class="derivation">\n{body}\n</div>')]


class VerdictBox(Proved):
    """`verdict NAME`: all that there is to say of it."""

    def answer(self) -> list[nodes.Node]:
        return [_raw(self.verdict()._repr_html_())]


class Derived(Asked):
    """`derivation NAME`: the derivation that is known; without a name the lines of the block, each of which is checked."""

    def read(self) -> None:
        if not self.arguments:
            return
        if self.content or "\n" in self.arguments[0]:
            message = "a derivation is named or typed, and not both. In reStructuredText an empty line is above what is typed."
            raise UsageError(message)
        super().read()

    def answer(self) -> list[nodes.Node]:
        return [_raw(self._known() if self.arguments else self._typed())]

    def _known(self) -> str:
        verdict = derive.prove(self.estimator())
        if verdict.derivation is None or verdict.verdict == "other-target":
            message = f"{self.target} is {verdict.verdict}, and has no derivation of its target."
            raise UsageError(message)
        return written(verdict.derivation.lines, verdict.derivation.theorem.assumptions, verdict.estimator.where)

    def _typed(self) -> str:
        ran(self.state.document.settings.env, list(self.content), self._at(self._first()))
        found = check(list(self.content), self._first())
        return written(found.lines, found.assumptions, () if found.estimator is None else found.estimator.where)

    def _first(self) -> int:
        """Return the number of the first line of the content; MyST counts the offset from the fence, docutils from the page."""
        return int(self.content_offset) + 1 + (0 if isinstance(self.state_machine, StateMachine) else int(self.lineno))


class VariancePlot(Asked):
    """`variance-plot NAME`: over the probability of a coin, beside that of the score function."""

    def answer(self) -> list[nodes.Node]:
        from numeric.report.plots import variance_plot

        figure, drawn = variance_plot(self.estimator())
        labels = ", ".join(series.label for series in figure.series)
        return [_raw(_PLOT.render(figure=figure, labels=labels, data=b64encode(drawn.encode()).decode()))]


class Audited(Asked):
    """`audit FILE.py:CASE`: the code is run over every outcome; the page says whether it passes."""

    knows: ClassVar[tuple[str, ...]] = ("expect",)

    def answer(self) -> list[nodes.Node]:
        from numeric.cli.audit import audit_case

        case = audit_case(self.named())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the report has them
            report = case(raise_exception=False)
        self.expect(report.verdict, report.verdict if report else "unbiased")
        shown = f"$ gradproof audit {self.target}\n{self.target}: {report}"
        return [nodes.literal_block(shown, shown, language="console")]


def written(lines: Iterable[Line], assumed: Iterable[Condition], where: Where) -> str:
    """Return the lines of a derivation, and what it assumes, as HTML."""
    rows = [(line.reason, html.render(line.term, where)) for line in lines]
    return _LINES.render(lines=rows, assumed=sorted(html.sentence(condition, where) for condition in assumed))


def _raw(text: str) -> nodes.Node:
    return nodes.raw("", text, format="html")


DIRECTIVES: dict[str, type[Asked]] = {
    "estimator": EstimatorPage,
    "derivation": Derived,
    "verdict": VerdictBox,
    "variance-plot": VariancePlot,
    "audit": Audited,
}
