r"""Formulas and derivations as LaTeX that needs amsmath only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from derive.language.choice import ChoiceLaw
from derive.language.term import DensityLaw, FiniteLaw, Number, RandomVariable, Term
from derive.numbers.formula import Formula
from derive.printing import unknowns
from derive.printing.breaking import BREAK, INDENT, SOFT, broken, unmarked
from derive.printing.conclusion import Conclusion
from derive.printing.layout import ACCENTS, GREEK, LETTERED, Condition, Printer, Where, apart, spoken, start
from derive.printing.measure import points

if TYPE_CHECKING:
    from derive.language.estimator import Estimator
    from derive.proofs.calc import Derivation

_HALF = "^{1/2}"
_PAGE = 420
LIMIT = 50
"""The widest line of a displayed formula, in characters."""

ROUND, DNUOR, SQUARE, ERAUQS = "\ue002", "\ue003", "\ue004", "\ue005"
_TALL = re.compile(r"\\(frac|sum|int)\b")
_BETWEEN, _DOT = r"\, ", r"\cdot "
_TALLER = {ROUND: "\ue007", DNUOR: "\ue008", SQUARE: "\ue009", ERAUQS: "\ue00a"}
_SIDES = {mark: side for pair, side in zip(_TALLER.items(), "()[]", strict=True) for mark in pair}
_OPENING = (ROUND, SQUARE, _TALLER[ROUND], _TALLER[SQUARE])
_WORDS = {
    ".": r"\cdot", "...": r"\cdots", "log": r"\log", "exp": r"\exp", "min": r"\min", "max": r"\max",
    "Normal": r"\mathcal{N}", "Uniform": r"\mathcal{U}",
}  # fmt: skip
_LETTERS = {letter: name for name, letter in GREEK.items()} | {"ϵ": "epsilon", "ϕ": "phi", "ϑ": "theta"}
_ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "<": r"\ensuremath{<}", ">": r"\ensuremath{>}", "|": r"\ensuremath{|}", '"': "''",
    "–": "--", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''",
}  # fmt: skip
_ACCENTED = "àáâäãåèéêëìíîïòóôöõøùúûüýçñšžčřěÀÁÂÄÅÈÉÊËÖØÜÇÑŠŽČß"


def escape(text: str) -> str:
    r"""Return any text so that LaTeX prints it and does not obey it.

    >>> escape("50 % of $x_1$")
    '50 \\% of \\$x\\_1\\$'
    """
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character in _LETTERS:
        return rf"\ensuremath{{\{_LETTERS[character]}}}"
    if " " <= character <= "~" or character in _ACCENTED:
        return character
    return " " if character.isspace() else f"[U+{ord(character):04X}]"


def name(text: str, joint: str = "p") -> str:
    r"""Return a name as LaTeX mathematics: Greek letters, accents and subscripts are recognised, anything else is escaped.

    >>> name("lambda_"), name("z_tilde"), name("b_1"), name("baseline"), name("50%")
    ('\\lambda', '\\tilde{z}', 'b_{1}', '\\mathrm{baseline}', '\\text{50\\%}')
    """
    if not re.fullmatch(r"[^\W\d_][^\W_]*(_[^\W_]+)*_?", text):
        return rf"\text{{{escape(text)}}}"
    base, *suffixes = text.rstrip("_").split("_")
    if base == "log" and suffixes:  # a function whose value is a logarithm; what people call the joint density is p
        return rf"\log {name(joint if suffixes == ['joint'] else '_'.join(suffixes))}"
    lettered = LETTERED.fullmatch(base)
    base, subscripts = (lettered[1], [lettered[2]]) if lettered else (base, list[str]())
    printed = _base(base)
    for suffix in suffixes:
        if suffix in ACCENTS and not subscripts:
            printed = rf"\{suffix}{{{printed}}}"
        else:
            subscripts.append(suffix if suffix.isascii() and suffix.isdigit() else _base(suffix))
    return f"{printed}_{{{', '.join(subscripts)}}}" if subscripts else printed


def _base(word: str) -> str:
    word = _LETTERS.get(word, word)
    if word in GREEK:
        return "\\" + word
    if word.isascii() and len(word) == 1:
        return word
    return rf"\mathrm{{{word}}}" if word.isascii() else rf"\text{{{escape(word)}}}"


class Latex(Printer):
    """LaTeX mathematics; brackets are private marks until the line breaks are known."""

    def name(self, name_: str) -> str:
        return name(name_, self.joint)

    def quoted(self, name: str) -> str:
        return rf"\text{{`{escape(name)}'}}"

    def word(self, word: str) -> str:
        return _WORDS.get(word, rf"\mathrm{{{word}}}")

    def number(self, value: Fraction) -> str:
        return str(value) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"

    def bracket(self, inner: str) -> str:
        tall = any(mark in inner for mark in (ROUND, SQUARE, r"\frac", r"\sum", r"\int", "^"))
        return f"{ROUND}{inner}{DNUOR}" if tall else f"({inner})"

    def call(self, head: str, args: Sequence[str], given: Sequence[str] = (), parameters: Sequence[str] = ()) -> str:
        bar = rf" \mid {', '.join(given)}" if given else ""
        semicolon = f"; {', '.join(parameters)}" if parameters else ""
        inner = f"{', '.join(args)}{bar}{semicolon}"
        return head + self.bracket(inner)

    def total(self, signed: Sequence[tuple[bool, str]]) -> str:
        (minus, first), *rest = signed or [(False, "0")]
        return ("-" if minus else "") + first + "".join(f"{BREAK} {'-' if minus else '+'} {term}" for minus, term in rest)

    def product(self, factors: Sequence[str]) -> str:
        first, *rest = factors
        return first + "".join(f"{SOFT} {_DOT if unmarked(factor)[0].isdigit() else _BETWEEN}{factor}" for factor in rest)

    def fraction(self, top: str, bottom: str) -> str:
        return rf"\frac{{{unmarked(top)}}}{{{unmarked(bottom)}}}"

    def power(self, base: str, exponent: int) -> str:
        return f"{base}^{{{exponent}}}"

    def log(self, inner: str) -> str:
        return rf"\log {inner}"

    def root(self, inner: str) -> str:
        return rf"\sqrt{{{unmarked(inner)}}}"

    def applied(self, word: str, args: Sequence[str]) -> str:
        match word, args:
            case "sqrt", [inner]:
                return self.root(inner)
            case "abs", [inner]:
                return rf"\lvert {inner} \rvert"
            case "indicator", [inner]:
                return rf"\mathbf{{1}}{SQUARE}{inner} > 0{ERAUQS}"
        return super().applied(word, args)

    def derivative(self, parameter: str, inner: str, order: int = 1) -> str:
        single = re.fullmatch(r"[a-zA-Z]|\\[a-zA-Z]+", parameter)
        power = f"^{{{order}}}" if order > 1 else ""
        return rf"\partial_{parameter if single else '{' + parameter + '}'}{power} {inner}"

    def expectation(self, variables: Sequence[RandomVariable], inner: str) -> str:
        subscript = ", ".join(unmarked(self._subscript(variable)) for variable in variables)
        if len(variables) > 1 and width(subscript) > LIMIT // 2:
            subscript = ", ".join(self.called(variable.name) for variable in variables)
        return rf"\mathbb{{E}}_{{{subscript}}}{SQUARE}{inner}{ERAUQS}"

    def _subscript(self, variable: RandomVariable) -> str:
        law, printed = variable.law, self.called(variable.name)
        if isinstance(law, ChoiceLaw):
            return printed
        if isinstance(law, (FiniteLaw, DensityLaw)) or not all(isinstance(term, Number) for term in law.terms):
            return self.distribution(law, printed)
        return printed

    def summation(self, variable: str, inner: str) -> str:
        return rf"\sum_{{{variable}}} {inner}"

    def integral(self, variable: str, bounds: tuple[str, str] | None, inner: str) -> str:
        limits = f"_{{{unmarked(bounds[0])}}}^{{{unmarked(bounds[1])}}}" if bounds else ""
        return rf"\int{limits} {inner} \, d{variable}"

    def primed(self, head: str, order: int) -> str:
        return head + "'" * order

    def mean(self, inner: str, event: str, *, restricted: bool) -> str:
        given = "" if not event else "; " if restricted else r" \mid "
        return rf"\mathbb{{E}}{SQUARE}{inner}{given}{event}{ERAUQS}"

    def relation(self, left: str, sign: str, right: str) -> str:
        return " ".join((left, r"\sim" if sign == "~" else sign, right))

    def width(self, printed: str) -> int:
        return width(printed)


class Narrow(Latex):
    """Wide fractions are powers of -1, and arguments go on the next line where they must."""

    longest_fraction: ClassVar[int] = 14

    def root(self, inner: str) -> str:
        return super().root(inner) if self.width(inner) <= self.longest_fraction else self.bracket(inner) + _HALF

    def power(self, base: str, exponent: int) -> str:
        if not base.endswith(_HALF):
            return super().power(base, exponent)
        half = Fraction(exponent, 2)
        return base.removesuffix(_HALF) + (f"^{{{half}}}" if half != 1 else "")

    def call(self, head: str, args: Sequence[str], given: Sequence[str] = (), parameters: Sequence[str] = ()) -> str:
        separated = f", {SOFT}".join(args)
        return super().call(head, [separated] if args else [], given, [SOFT + each for each in parameters])


def width(printed: str) -> int:
    """About how many characters wide a formula prints."""
    bare = re.sub(r"\\(mathrm|text|mathbb|mathcal|tilde|hat|bar|frac|ensuremath|mid|,)", "", unmarked(printed))
    return len(re.sub(r"[{}_^ ]|\\(?=\W)", "", re.sub(r"\\[a-zA-Z]+", "x", bare)))


def _pairs(line: str) -> list[tuple[int, int]]:
    """Return where the brackets stand of which both are on the line."""
    pairs, opened = list[tuple[int, int]](), list[int]()
    for i, character in enumerate(line):
        if character in _OPENING:
            opened.append(i)
        elif character in _SIDES and opened:
            pairs.append((opened.pop(), i))
    return pairs


def sized(marked: str) -> str:
    """Mark the brackets about something tall, so that they are of one size where a line breaks between them."""
    characters = list(marked)
    for i, j in _pairs(marked):
        if _TALL.search(marked, i, j):
            characters[i], characters[j] = _TALLER[marked[i]], _TALLER[marked[j]]
    return "".join(characters)


def _bracketed(line: str) -> str:
    r"""Turn bracket marks into \left and \right where both are on the line, else into \bigl and \bigr."""
    matched = {place for pair in _pairs(line) for place in pair}
    return "".join(_side(character, i in matched) for i, character in enumerate(line))


def _side(character: str, matched: bool) -> str:
    if character not in _SIDES:
        return character
    opens = character in _OPENING
    if matched:
        return (r"\left" if opens else r"\right") + _SIDES[character]
    size = r"\Big" if character in _TALLER.values() else r"\big"
    return size + ("l" if opens else "r") + _SIDES[character]


def inline(marked: str) -> str:
    """Return a formula of a paragraph, which may break wherever a line of a display may."""
    low = "".join(_side(character, matched=False) for character in marked if character != BREAK)
    return re.sub(rf"{SOFT} *", r"\\allowbreak ", low)


def render(term: Term, where: Where = ()) -> str:
    r"""Return a term as LaTeX mathematics; a subterm that equals the value of an abbreviation prints as its name.

    Raises
        UnknownNode, if the term is of no kind of the language.

    >>> from derive.notation import E, constant, finite, function, parameter, score
    >>> theta, c, f = parameter("theta"), constant("c"), function("f")
    >>> b = finite("b", theta)
    >>> print(render(E((f(b) - c) * score(b), b)))
    \mathbb{E}_{p(b; \theta)}\left[(f(b) - c) \, \partial_\theta \log p(b; \theta)\right]
    """
    return _bracketed(unmarked(start(Latex, term, where).show(term)))


def lines(term: Term, where: Where = (), limit: int = LIMIT) -> list[str]:
    """Return a term as lines for an aligned display, no wider than the limit where they can be broken."""
    return finished(broken(sized(start(Latex, term, where).show(term)), limit, width))


def finished(found: Iterable[str], indent: str = r"\quad ") -> list[str]:
    """Return lines with the sizes of their brackets, and without our marks; a line does not begin with a space of a product."""
    return [line.count(INDENT) * indent + _begun(_bracketed(line).strip(INDENT + " ")) for line in found]


def _begun(line: str) -> str:
    return _DOT + line.removeprefix(_BETWEEN) if line.startswith(_BETWEEN) else line


def formula_lines(formula: Formula, limit: int = LIMIT, terms: int = unknowns.MOST_TERMS) -> list[str]:
    """Return what the exact evaluator has found as lines for an aligned display; of a long polynomial some terms and dots."""
    return finished(broken(sized(unknowns.show(Latex(), formula, terms)), limit, width))


def premise(condition: Condition, where: Where = ()) -> str:
    r"""Return a side condition in words, with its terms as inline mathematics.

    >>> from derive.notation import finite, parameter
    >>> from derive.kernel.premises import SupportFixed
    >>> theta = parameter("theta")
    >>> print(premise(SupportFixed(finite("b", theta), theta)))
    the support of $b$ does not depend on $\theta$
    """
    return said(condition, where, _inline)


def said(condition: Condition, where: Where, write: Callable[[Term, Where], str]) -> str:
    """Return a side condition in words, each of its terms as it is written."""
    _, sentence, subjects = spoken(condition)
    clear = apart(subjects, where)
    return sentence.format(*(write(subject, clear) for subject in subjects)).replace("$ = $", " = ")


def _inline(term: Term, where: Where) -> str:
    """Return a term in pieces between which a paragraph may break; an item of a list is narrower than a display."""
    return " ".join(re.sub(r"^(\\quad )*", "$", line) + "$" for line in lines(term, where, LIMIT - 16))


def _paragraph(term: Term, where: Where) -> str:
    return f"${inline(start(Narrow, term, where).show(term))}$"


def premises(
    conditions: Iterable[Condition], where: Where = (), write: Callable[[Term, Where], str] = _inline
) -> list[tuple[str, str]]:
    """Return the names of side conditions and what they say, in alphabetical order."""
    return sorted({(spoken(condition)[0], said(condition, where, write)) for condition in conditions})


def setting(estimator: Estimator) -> list[str]:
    """Return what is drawn and the definitions, each a relation."""
    return [_bracketed(unmarked(relation)) for relation in relations(Latex, estimator)]


def relations(kind: type[Latex], estimator: Estimator) -> list[str]:
    """Return what is drawn and the definitions, marked where they may break."""
    return [*map(kind().drawn, estimator.draws), *kind(estimator.where).definitions()]


def document(estimator: Estimator, derivation: Derivation | None, conclusion: Conclusion | None = None) -> str:
    """Return a complete article: the statement of an estimator, its derivation with the rule of each line, and the verdict."""
    where = estimator.where
    parts = [
        _PREAMBLE,
        rf"\section*{{{escape(estimator.name)}}}",
        escape(estimator.summary),
        rf"Source: {escape(estimator.source)}." if estimator.source else "",
        r"\subsection*{Statement}",
        _display([_displayed(relation) for relation in relations(Latex, estimator)]),
        "The estimate and the gradient that it should have as its mean:",
        _display([["g = " + first, *rest] for first, *rest in [_whole(estimator.formula, where)]]),
        _display([_whole(estimator.target, where)]),
        *(["There is no derivation."] if derivation is None else _derived(derivation, where)),
        *([] if conclusion is None else _concluded(conclusion, where)),
        r"\end{document}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _displayed(marked: str) -> list[str]:
    """Return the lines of a formula that has the page for itself."""
    return finished(broken(sized(marked), _PAGE, lambda line: int(points(line))))


def _whole(term: Term, where: Where) -> list[str]:
    return _displayed(start(Latex, term, where).show(term))


_PREAMBLE = r"""\documentclass{article}
\usepackage{amsmath}
\IfFileExists{amssymb.sty}{\usepackage{amssymb}}{\newcommand{\mathbb}[1]{\mathbf{#1}}}
\setlength{\textwidth}{6.5in}
\setlength{\oddsidemargin}{0in}
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt}
\allowdisplaybreaks
\sloppy
\begin{document}"""


def _display(formulas: Sequence[Sequence[str]]) -> str:
    rows = [("&" if i == 0 else r"&\quad ") + line for formula in formulas for i, line in enumerate(formula)]
    return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"


def _derived(derivation: Derivation, where: Where) -> list[str]:
    rows = [row for line in derivation.lines for row in _rows(line.reason, lines(line.term, where))]
    written = [r"\subsection*{Derivation}", "\\begin{align}\n" + " \\\\\n".join(rows) + "\n\\end{align}"]
    needs = [(i, premises(line.premises, where, _paragraph)) for i, line in enumerate(derivation.lines, 1) if line.premises]
    if needs:
        written.append("The steps use that")
        written.append(_items(f"({i}) {text}" for i, listed in needs for _, text in listed))
    listed = premises(derivation.theorem.assumptions, where, _paragraph)
    assumed = [rf"\textsc{{{escape(label)}}}: {text}" for label, text in listed]
    return [*written, r"\subsection*{Assumptions}", _items(assumed) if assumed else "None: every side condition was decided."]


def _concluded(conclusion: Conclusion, where: Where) -> list[str]:
    facts = [rf"\textsc{{{escape(label)}}}: {escape(fact)}" for label, fact in conclusion.facts]
    needs = [rf"\textsc{{{escape(label)}}}: {text}" for label, text in premises(conclusion.conditions, where, _paragraph)]
    bias = [] if conclusion.bias is None else ["The bias:", _display([_whole(conclusion.bias, where)])]
    return [rf"\subsection*{{Verdict: {escape(conclusion.verdict)}}}", _items([*facts, *needs]), *bias]


def _rows(reason: str, written: Sequence[str]) -> list[str]:
    """The rule stands beside the first row of a broken formula, the equation number beside the last."""
    beside = rf" && \text{{\footnotesize {escape(reason)}}}" if reason else ""
    rows = [("={}& " if reason else "& ") + written[0] + beside, *(r"&\quad " + line for line in written[1:])]
    return [*(row + r" \nonumber" for row in rows[:-1]), rows[-1]]


def _items(items: Iterable[str]) -> str:
    return "\\begin{itemize}\n" + "\n".join(rf"\item {item}." for item in items) + "\n\\end{itemize}"
