"""Derivations as one HTML page with MathML: no scripts, no fonts, no network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from html import escape as _quoted
from typing import TYPE_CHECKING

from jinja2 import Environment
from markupsafe import Markup

from derive.language.choice import ChoiceLaw
from derive.language.term import DensityLaw, FiniteLaw, Number, RandomVariable, Term
from derive.printing import latex
from derive.printing.conclusion import Conclusion
from derive.printing.layout import ACCENTS, GREEK, LETTERED, Condition, Printer, Where, apart, spoken, start

if TYPE_CHECKING:
    from derive.language.estimator import Estimator
    from derive.proofs.calc import Derivation

_OVER = {"tilde": "~", "hat": "^", "bar": "¯"}
_APPLY, _THIN, _TIMES = "<mo>&#8289;</mo>", '<mspace width="0.17em"/>', "<mo>·</mo>"
_PLUS, _MINUS = "<mo>+</mo>", "<mo>−</mo>"


class MathML(Printer):
    """Presentation MathML; every piece is one or more elements."""

    def name(self, name: str) -> str:
        base, *suffixes = name.rstrip("_").split("_") if re.fullmatch(r"[^\W_]+(_[^\W_]+)*_?", name) else [name]
        if base == "log" and suffixes:  # a function whose value is a logarithm; what people call the joint density is p
            return f"<mi>log</mi>{_THIN}{self.name(self.joint if suffixes == ['joint'] else '_'.join(suffixes))}"
        lettered = LETTERED.fullmatch(base)
        base, subscripts = (lettered[1], [f"<mi>{lettered[2]}</mi>"]) if lettered else (base, list[str]())
        printed = f"<mi>{_text(GREEK.get(base, base))}</mi>"
        for suffix in suffixes:
            if suffix in ACCENTS and not subscripts:
                printed = f'<mover accent="true">{printed}<mo stretchy="false">{_OVER[suffix]}</mo></mover>'
            else:
                subscripts.append(f"<mi>{_text(GREEK.get(suffix, suffix))}</mi>")
        return f"<msub>{printed}<mrow>{'<mo>,</mo>'.join(subscripts)}</mrow></msub>" if subscripts else printed

    def quoted(self, name: str) -> str:
        return f"<mtext>‘{_text(name)}’</mtext>"

    def word(self, word: str) -> str:
        return f"<mi>{_text({'Normal': '𝒩', 'Uniform': '𝒰', '...': '⋯', '.': '·'}.get(word, word))}</mi>"

    def number(self, value: Fraction) -> str:
        whole = f"<mn>{value.numerator}</mn>"
        return whole if value.denominator == 1 else f"<mfrac>{whole}<mn>{value.denominator}</mn></mfrac>"

    def bracket(self, inner: str) -> str:
        return _enclosed("(", inner, ")")

    def call(self, head: str, args: Sequence[str], given: Sequence[str] = (), parameters: Sequence[str] = ()) -> str:
        comma = "<mo>,</mo>"
        bar = f"<mo>|</mo>{comma.join(given)}" if given else ""
        semicolon = f"<mo>;</mo>{comma.join(parameters)}" if parameters else ""
        return f"<mrow>{head}{_APPLY}{self.bracket(comma.join(args) + bar + semicolon)}</mrow>"

    def indexed(self, name: str, place: str) -> str:
        return f"<mrow>{name}<mo>[</mo>{place}<mo>]</mo></mrow>"

    def total(self, signed: Sequence[tuple[bool, str]]) -> str:
        printed = "".join((_MINUS if minus else _PLUS) + term for minus, term in signed) or "<mn>0</mn>"
        return f"<mrow>{printed.removeprefix(_PLUS)}</mrow>"

    def product(self, factors: Sequence[str]) -> str:
        first, *rest = factors
        return f"<mrow>{first}{''.join((_TIMES if factor.startswith('<mn>') else _THIN) + factor for factor in rest)}</mrow>"

    def fraction(self, top: str, bottom: str) -> str:
        return f"<mfrac><mrow>{top}</mrow><mrow>{bottom}</mrow></mfrac>"

    def power(self, base: str, exponent: int) -> str:
        return f"<msup><mrow>{base}</mrow><mn>{exponent}</mn></msup>"

    def log(self, inner: str) -> str:
        return f"<mrow><mi>log</mi>{_APPLY}{_THIN}{inner}</mrow>"

    def root(self, inner: str) -> str:
        return f"<msqrt>{inner}</msqrt>"

    def applied(self, word: str, args: Sequence[str]) -> str:
        match word, args:
            case "sqrt", [inner]:
                return self.root(inner)
            case "abs", [inner]:
                return _enclosed("|", inner, "|")
            case "indicator", [inner]:
                return f"<mrow><mn>𝟏</mn>{_enclosed('[', f'{inner}<mo>&gt;</mo><mn>0</mn>', ']')}</mrow>"
        return super().applied(word, args)

    def derivative(self, parameter: str, inner: str, order: int = 1) -> str:
        if order == 1:
            return f"<mrow><msub><mo>∂</mo><mrow>{parameter}</mrow></msub>{inner}</mrow>"
        return f"<mrow><msubsup><mo>∂</mo><mrow>{parameter}</mrow><mn>{order}</mn></msubsup>{inner}</mrow>"

    def expectation(self, variables: Sequence[RandomVariable], inner: str) -> str:
        subscript = "<mo>,</mo>".join(self._subscript(variable) for variable in variables)
        return f"<mrow><msub><mi>𝔼</mi><mrow>{subscript}</mrow></msub>{_enclosed('[', inner, ']')}</mrow>"

    def _subscript(self, variable: RandomVariable) -> str:
        law, printed = variable.law, self.called(variable.name)
        if isinstance(law, ChoiceLaw):
            return printed
        if isinstance(law, (FiniteLaw, DensityLaw)) or not all(isinstance(term, Number) for term in law.terms):
            return self.distribution(law, printed)
        return printed

    def summation(self, variable: str, inner: str) -> str:
        return f"<mrow><munder><mo>∑</mo><mrow>{variable}</mrow></munder>{inner}</mrow>"

    def integral(self, variable: str, bounds: tuple[str, str] | None, inner: str) -> str:
        sign = f"<msubsup><mo>∫</mo><mrow>{bounds[0]}</mrow><mrow>{bounds[1]}</mrow></msubsup>" if bounds else "<mo>∫</mo>"
        return f'<mrow>{sign}{inner}<mspace width="0.17em"/><mi>d</mi>{variable}</mrow>'

    def primed(self, head: str, order: int) -> str:
        return f"<msup><mrow>{head}</mrow><mo>{'′' * order}</mo></msup>" if order else head

    def mean(self, inner: str, event: str, *, restricted: bool) -> str:
        given = f"<mo>{';' if restricted else '|'}</mo>{event}" if event else ""
        return f"<mrow><mi>𝔼</mi><mo>[</mo>{inner}{given}<mo>]</mo></mrow>"

    def relation(self, left: str, sign: str, right: str) -> str:
        return f"<mrow>{left}<mo>{'∼' if sign == '~' else sign}</mo>{right}</mrow>"

    def width(self, printed: str) -> int:
        return len(re.sub(r"<[^>]*>", "", printed))


def _enclosed(left: str, inner: str, right: str) -> str:
    """Brackets grow around what is tall only: without a font for mathematics a browser makes them larger than letters need."""
    kept = "" if re.search("<(mfrac|munder|msqrt)", inner) else ' stretchy="false"'
    return f"<mrow><mo{kept}>{left}</mo>{inner}<mo{kept}>{right}</mo></mrow>"


def _text(text: str) -> str:
    return _quoted("".join(character if character.isprintable() else "?" for character in text))


def math(elements: str, *, display: bool = False) -> Markup:
    """Return elements of MathML as a formula, in a line or displayed."""
    return Markup(f'<math display="{"block" if display else "inline"}">{elements}</math>')


def render(term: Term, where: Where = ()) -> str:
    """Return a term as a MathML element; a subterm that equals the value of an abbreviation prints as its name.

    Raises
        UnknownNode, if the term is of no kind of the language.

    >>> from derive.notation import parameter
    >>> render(parameter("theta") ** 2)
    '<math display="block"><msup><mrow><mi>θ</mi></mrow><mn>2</mn></msup></math>'
    """
    return str(math(start(MathML, term, where).show(term), display=True))


def document(estimator: Estimator, derivation: Derivation | None, conclusion: Conclusion | None = None) -> str:
    """Return a page that needs nothing else: the statement of an estimator, its derivation in numbered rows, the verdict."""
    return _PAGE.render(estimator=estimator, body=body(estimator, derivation, conclusion))


def body(estimator: Estimator, derivation: Derivation | None, conclusion: Conclusion | None = None) -> Markup:
    """Return what stands below the heading of such a page: draws, estimate, target, derivation, assumptions and verdict."""
    where = estimator.where
    relations = [*(MathML().drawn(variable) for variable in estimator.draws), *MathML(where).definitions()]
    rendered = _BODY.render(
        setting=[math(relation) for relation in relations],
        formula=_display(estimator.formula, where),
        target=_display(estimator.target, where),
        lines=[] if derivation is None else [_line(line.reason, line.term, line.premises, where) for line in derivation.lines],
        assumptions=() if derivation is None else _premises(derivation.theorem.assumptions, where),
        derived=derivation is not None,
        conclusion=conclusion,
        conditions=() if conclusion is None else _premises(conclusion.conditions, where),
        bias=_display(conclusion.bias, where) if conclusion is not None and conclusion.bias is not None else None,
    )
    return Markup(rendered.strip())


def _display(term: Term, where: Where) -> Markup:
    return math(start(MathML, term, where).show(term), display=True)


def _line(reason: str, term: Term, premises: Iterable[Condition], where: Where) -> dict[str, object]:
    math, source = _display(term, where), latex.render(term, where)
    return {"reason": reason, "math": math, "source": source, "premises": _premises(premises, where)}


def _premises(conditions: Iterable[Condition], where: Where) -> list[tuple[str, Markup]]:
    return sorted({(spoken(condition)[0], sentence(condition, where)) for condition in conditions})


def sentence(condition: Condition, where: Where) -> Markup:
    """Return a side condition in words, with its terms as formulas."""
    _, sentence, subjects = spoken(condition)
    clear = apart(subjects, where)
    return Markup(sentence).format(*(math(start(MathML, term, clear).show(term)) for term in subjects))


def fragment(title: str, rows: Sequence[tuple[str, Markup | str]]) -> str:
    """Return a table of labels and what they say, to stand in any page: its style is for `.gradproof` only.

    >>> "<dt>x</dt>" in fragment("", [("x", "y")])
    True
    """
    return _FRAGMENT.render(title=title, rows=rows)


_TEMPLATES = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)

_FRAGMENT = _TEMPLATES.from_string("""\
<div class="gradproof">
<style>
.gradproof dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2em 1em; margin: .3em 0; }
.gradproof dt { font-weight: normal; font-style: italic; opacity: .75; }
.gradproof dd { margin: 0; overflow-x: auto; overflow-wrap: anywhere; }
.gradproof .gradproof-title { font-weight: bold; margin: .3em 0; }
</style>
{% if title %}
<p class="gradproof-title">{{ title }}</p>
{% endif %}
<dl>
{% for label, said in rows %}
<dt>{{ label }}</dt><dd tabindex="0">{{ said }}</dd>
{% endfor %}
</dl>
</div>
""")

_PAGE = _TEMPLATES.from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ estimator.name }}</title>
<style>
body { font: 17px/1.5 Georgia, serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
ol { list-style: none; padding: 0; counter-reset: line; }
ol > li { border-top: 1px solid #ddd; padding: .6rem 0; counter-increment: line; }
.formula { overflow-x: auto; display: flex; align-items: center; justify-content: space-between; }
.formula::after { content: "(" counter(line) ")"; color: #777; padding-left: 1rem; }
.rule { font-style: italic; color: #14507a; }
.needs, details { font-size: .85rem; color: #555; }
code { white-space: pre-wrap; overflow-wrap: anywhere; }
dt { font-variant: small-caps; } dd { margin: 0 0 .4rem 1.5rem; overflow-x: auto; }
</style>
</head>
<body>
<h1>{{ estimator.name }}</h1>
<p>{{ estimator.summary }}{% if estimator.source %} <em>Source: {{ estimator.source }}.</em>{% endif %}</p>
{{ body }}
</body>
</html>
""")

_BODY = _TEMPLATES.from_string("""\
<dl>
<dt>drawn and computed</dt>
{% for relation in setting %}
<dd>{{ relation }}</dd>
{% endfor %}
<dt>estimate</dt>
<dd>{{ formula }}</dd>
<dt>the gradient that it should have as its mean</dt>
<dd>{{ target }}</dd>
</dl>
{% if not derived %}
<p>There is no derivation.</p>
{% else %}
<h2>Derivation</h2>
<ol>
{% for line in lines %}
<li>
{% if line.reason %}
<div class="rule">= by {{ line.reason }}</div>
{% endif %}
<div class="formula">{{ line.math }}</div>
{% for _, sentence in line.premises %}
<div class="needs">needs: {{ sentence }}</div>
{% endfor %}
<details><summary>LaTeX</summary><code>{{ line.source }}</code></details>
</li>
{% endfor %}
</ol>
<h2>Assumptions</h2>
{% if assumptions %}
<ul>
{% for name, sentence in assumptions %}
<li><strong>{{ name }}</strong>: {{ sentence }}.</li>
{% endfor %}
</ul>
{% else %}
<p>None: every side condition was decided.</p>
{% endif %}
{% endif %}
{% if conclusion %}
<h2>Verdict: {{ conclusion.verdict }}</h2>
<dl>
{% for label, fact in conclusion.facts %}
<dt>{{ label }}</dt>
<dd>{{ fact }}</dd>
{% endfor %}
{% for name, sentence in conditions %}
<dt>{{ name }}</dt>
<dd>{{ sentence }}.</dd>
{% endfor %}
{% if bias %}
<dt>bias</dt>
<dd>{{ bias }}</dd>
{% endif %}
</dl>
{% endif %}
""")
