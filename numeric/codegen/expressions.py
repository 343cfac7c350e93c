"""Pieces of generated source: expressions with a shape, their sums and products, names, and the statements of a function."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction

from derive.language.errors import UsageError
from derive.language.term import (
    Function,
    Number,
    RandomVariable,
    Sigmoid,
    Sign,
    Symbol,
    Term,
)

LINE = 120


class Shape(IntEnum):
    """The shape of a tensor in the generated code; a larger one broadcasts the smaller ones."""

    NUMBER = 0
    BATCH = 1
    COORDINATE = 2
    MATRIX = 3


class Kind(IntEnum):
    """What the value of a constant may be: a number, or also a tensor of shape (*batch), or (*batch, n), or anything.

    A constant may be anything where it is only passed to a function, or not used in the code at all.
    """

    NUMBER = 0
    BATCH = 1
    VECTOR = 2
    ANYTHING = 3
    UNUSED = 4


class Level(IntEnum):
    """How tightly a piece of text binds."""

    SUM = 0
    PRODUCT = 1
    ATOM = 2


@dataclass(frozen=True)
class Code:
    """An expression of the generated source."""

    text: str
    shape: Shape
    level: Level = Level.ATOM

    def at(self, level: Level) -> str:
        """The text, in parentheses if it binds less tightly than is needed."""
        return self.text if self.level >= level else f"({self.text})"

    def lifted(self, shape: Shape, level: Level) -> str:
        """The text for use among tensors of a shape: a batch tensor gets last dimensions among coordinates and matrices."""
        if shape >= Shape.COORDINATE and self.shape is Shape.BATCH:
            return f"{self.at(Level.ATOM)}[{', '.join(['...', *['None'] * (shape - Shape.BATCH)])}]"
        return self.at(level)


def plus(terms: list[Code]) -> Code:
    """The sum of expressions, in order; a literal zero is left out."""
    terms = [term for term in terms if term.text != "0"] or terms[:1]
    if len(terms) == 1:
        return terms[0]
    shape = max(term.shape for term in terms)
    texts = [term.lifted(shape, Level.SUM) for term in terms]
    signed = (f" - {text[1:]}" if text.startswith("-") else f" + {text}" for text in texts[1:])
    return Code(texts[0] + "".join(signed), shape, Level.SUM)


def times(factors: list[Code], below: list[Code] | None = None) -> Code:
    """The product of expressions, batch tensors first where both kinds occur, divided by those `below`."""
    below = below or []
    if any(divisor.text == "0" for divisor in below):
        message = "the formula divides by what is zero for the logits of one of its laws, such as the score of another."
        raise UsageError(message)
    if any(factor.text == "0" for factor in factors):
        return number(Fraction(0))
    shape = max(factor.shape for factor in factors + below)
    minus = sum(_negated(factor) for factor in factors) % 2 == 1
    factors = [Code(factor.text[1:], factor.shape) if _negated(factor) else factor for factor in factors]
    kept = [factor for factor in factors if factor.text != "1"] or [Code("1", Shape.NUMBER)]
    product = _product(kept, shape)
    text = product.text if len(kept) == 1 and not below and not minus else product.at(Level.PRODUCT)
    for divisor in below:
        text = f"{text} / {divisor.lifted(shape, Level.ATOM)}"
    if minus:
        return Code(f"-{text}", shape, Level.PRODUCT)
    return Code(text, shape, product.level if not below else Level.PRODUCT)


def _negated(factor: Code) -> bool:
    """Whether a factor is a number or a name with a minus sign in front."""
    return factor.text.startswith("-") and (factor.shape is Shape.NUMBER or factor.text[1:].isidentifier())


def _product(factors: list[Code], shape: Shape) -> Code:
    batch = [factor for factor in factors if factor.shape is Shape.BATCH]
    if shape >= Shape.COORDINATE and len(batch) > 1:
        rest = [factor for factor in factors if factor.shape is not Shape.BATCH]
        return _product([_product(batch, Shape.BATCH), *rest], shape)
    if len(factors) == 1:
        return factors[0] if factors[0].shape is shape else Code(factors[0].lifted(shape, Level.ATOM), shape)
    return Code(" * ".join(_positive(factor.lifted(shape, Level.PRODUCT)) for factor in factors), shape, Level.PRODUCT)


def _positive(text: str) -> str:
    return f"({text})" if text.startswith("-") else text


class Names:
    """Python names for the names of a formula: ASCII identifiers, unique, none that the generated code uses already."""

    RESERVED = frozenset({
        "torch", "math", "logsigmoid", "params", "noise", "logits", "loc", "log_scale", "scale", "draw", "estimate",
        "generator", "sample_shape", "shape", "every_outcome", "row_of", "value_and_gradient", "slope_gradient", "eps", "point",
        "probabilities", "classes", "rows", "drawn", "bernoulli", "at_once", "at_each", "choose", "entry_at", "map", "scaled",
        "values_and_gradients", "jacobian", "gradient", "value_and_slope", "curvature",
        "tiny", "uniform", "centred", "normals", "gamma_a", "gamma_b",
    })  # fmt: skip

    def __init__(self) -> None:
        self._of: dict[object, str] = {}
        self.taken: set[str] = set(self.RESERVED)

    def of(self, thing: Function | Symbol | RandomVariable) -> str:
        """The Python name of a function, symbol or variable.

        Raises
            UsageError, if its name is no plain identifier; nothing else can reach the generated source.
        """
        if thing not in self._of:
            self._of[thing] = self.fresh(checked_identifier(thing.name))
        return self._of[thing]

    def fresh(self, wish: str) -> str:
        """A name that is not taken yet, as close to the wish as can be."""
        if keyword.iskeyword(wish) or wish in self.RESERVED:
            wish += "_"
        name, i = wish, 1
        while name in self.taken:
            i += 1
            name = f"{wish}_{i}"
        self.taken.add(name)
        return name


def checked_identifier(name: str) -> str:
    """Return the name if it is a plain ASCII identifier without a leading underscore.

    Raises
        UsageError, otherwise: names of a formula become names of the generated program.

    >>> checked_identifier("x; import os")
    Traceback (most recent call last):
    derive.language.errors.UsageError: 'x; import os' cannot become a name in generated code; expected letters, digits and
    underscores, with a letter first (such as 'z_tilde').
    """
    if name.isascii() and name.isidentifier() and not name.startswith("_"):
        return name
    message = (
        f"{name!r} cannot become a name in generated code; expected letters, digits and underscores, "
        "with a letter first (such as 'z_tilde')."
    )
    raise UsageError(message)


@dataclass
class Writer:
    """The statements of one generated function; equal expressions get one name."""

    names: Names
    lines: list[str] = field(default_factory=list)
    memo: dict[str, str] = field(default_factory=dict)

    def assign(self, hint: str, text: str) -> str:
        """Give an expression a name, the one that it already has if it has been written before."""
        if text.isidentifier():
            return text
        if text not in self.memo:
            self.memo[text] = self.names.fresh(hint)
            self.lines.append(f"{self.memo[text]} = {text}")
        return self.memo[text]

    def assign_pair(self, hint: str, text: str) -> tuple[str, str]:
        """Give the two results of an expression names, `hint` and `d` + `hint`."""
        if text not in self.memo:
            value, slope = self.names.fresh(hint), self.names.fresh(f"d{hint}")
            self.memo[text] = f"{value}, {slope}"
            self.lines.append(f"{value}, {slope} = {text}")
        value, slope = self.memo[text].split(", ")
        return value, slope


@dataclass
class Nested(Writer):
    """The statements of a function inside the generated one; what does not move with its arguments stands before it.

    Args
        outer   the writer of the function around it
        moving  the names of the arguments, and of all that is computed from them
    """

    outer: Writer = field(kw_only=True)
    moving: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set, init=False)

    def moves(self, text: str) -> bool:
        """Whether an expression depends on the arguments."""
        return any(mentions(text, name) for name in self.moving)

    def assign(self, hint: str, text: str) -> str:
        """Give an expression a name, inside where it moves; what has a name outside keeps it."""
        if text.isidentifier():
            return text
        if not self.moves(text):
            return self.outer.assign(hint, text)
        if text not in self.memo:
            known = self.outer.memo.get(text)
            self.memo[text] = known or self.names.fresh(hint)
            self.lines.append(f"{self.memo[text]} = {text}")
            self.moving.add(self.memo[text])
            self.own |= set() if known else {self.memo[text]}
        return self.memo[text]

    def assign_pair(self, hint: str, text: str) -> tuple[str, str]:
        """Give the two results of an expression names, inside where it moves."""
        if not self.moves(text):
            return self.outer.assign_pair(hint, text)
        pair = super().assign_pair(hint, text)
        self.moving.update(pair)
        self.own.update(pair)
        return pair

    def close(self) -> None:
        """Let others have the names that are known inside only."""
        self.names.taken -= self.own

    def function(self, name: str, arguments: str, result: str) -> str:
        """The whole function, one statement of several lines."""
        lines = [f"    {part}" for line in [*self.lines, f"return {result}"] for part in wrapped(line)]
        return "\n".join([f"def {name}({arguments}):", *lines])


def sides(line: str) -> tuple[list[str], str]:
    """The names that a statement defines, and the text that it computes them from.

    >>> sides("a, b = f(c)"), sides("def g(x): ...")
    ((['a', 'b'], 'f(c)'), (['g'], '(x): ...'))
    """
    if line.startswith("def "):
        name, _, rest = line.removeprefix("def ").partition("(")
        return [name], f"({rest}"
    left, _, right = line.partition(" = ")
    return re.findall(r"\w+", left), right


def number(value: Fraction) -> Code:
    """An integer or a decimal where that is exact, else a quotient."""
    if value.denominator == 1:
        return Code(str(value.numerator), Shape.NUMBER)
    if Fraction(repr(float(value))) == value:
        return Code(repr(float(value)), Shape.NUMBER)
    return Code(f"({value.numerator} / {value.denominator})", Shape.NUMBER)


def coordinate(text: str) -> Code:
    """A vector that a family printed, with the level of its outermost operator."""
    level = Level.ATOM if text.isidentifier() else Level.PRODUCT if len(summands(text)) == 1 else Level.SUM
    return Code(text, Shape.COORDINATE, level)


def zero() -> Number:
    """The term 0."""
    return Number(Fraction(0))


def one() -> Number:
    """The term 1."""
    return Number(Fraction(1))


def power(base: Code, exponent: int) -> Code:
    """An integer power of an expression."""
    if exponent == 0:
        return number(Fraction(1))
    if exponent == 1 or (base.text == "0" and exponent > 0):
        return base
    return Code(f"{_positive(base.at(Level.ATOM))}**{exponent}" if exponent > 0 else f"{base.at(Level.ATOM)} ** ({exponent})",
                base.shape, Level.PRODUCT)  # fmt: skip


def call(kind: type[Term], arg: Code) -> Code:
    """log, exp, sigmoid or sign, of a tensor or of a plain number."""
    if arg.shape is not Shape.NUMBER:
        return Code(f"torch.{kind.__name__.lower()}({arg.text})", arg.shape)
    if kind is Sign:
        x = arg.at(Level.ATOM)
        return Code(f"(float({x} > 0) - float({x} < 0))", Shape.NUMBER)
    if kind is Sigmoid:
        return Code(f"(1 / (1 + math.exp(-{arg.at(Level.ATOM)})))", Shape.NUMBER)
    return Code(f"math.{kind.__name__.lower()}({arg.text})", Shape.NUMBER)


def summands(text: str) -> list[str]:
    """Split a sum at its outermost plus and minus signs."""
    return _split(text, (" + ", " - "))


def _split(text: str, separators: tuple[str, ...]) -> list[str]:
    """Split at separators outside brackets; a sign stays with what follows it, a comma goes."""
    result, depth, begin = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and text.startswith(separators, i):
            result.append(text[begin:i])
            begin = i + (2 if char == "," else 1)
    return [*result, text[begin:]]


def layout(text: str, indent: int, width: int) -> list[str]:
    """Break an expression that stands in parentheses into lines: at its sums, its commas, or inside its longest brackets.

    >>> layout("(a + b) / 3", 0, 9)
    ['(', '    a + b', ') / 3']
    """
    if indent + len(text) <= width:
        return [" " * indent + text]
    parts = summands(text)
    if len(parts) == 1:
        parts = _split(text, (", ",))
        parts = [f"{part}," for part in parts[:-1]] + parts[-1:]
    if len(parts) > 1:
        return [line for part in parts for line in layout(part, indent, width)]
    begin, end = _brackets(text)
    if end - begin < 2:
        return [" " * indent + text]
    inside = layout(text[begin + 1 : end], indent + 4, width)
    return [" " * indent + text[: begin + 1], *inside, *layout(text[end:], indent, width)]


def _brackets(text: str) -> tuple[int, int]:
    """Where the longest outermost pair of brackets begins and ends."""
    best, depth, begin = (0, 0), 0, 0
    for i, char in enumerate(text):
        if char in "([{":
            begin = i if depth == 0 else begin
            depth += 1
        elif char in ")]}":
            depth -= 1
            best = (begin, i) if depth == 0 and i - begin > best[1] - best[0] else best
    return best


def wrapped(line: str) -> list[str]:
    """A statement, on several lines where it is too long for one.

    >>> wrapped("return a")
    ['return a']
    """
    if len(line) + 4 <= LINE or "\n" in line:
        return line.splitlines()
    if line.startswith("def "):
        return layout(line, 0, LINE)
    start = "return " if line.startswith("return ") else line[: line.index(" = ") + 3]
    if len(start) + 5 > LINE:
        return ["(", *layout(start[:-3], 4, LINE - 4), *wrapped(f") = {line[len(start) :]}")]
    return [f"{start}(", *layout(line[len(start) :], 4, LINE - 4), ")"]


def mentions(text: str, name: str) -> bool:
    """Whether a name occurs in the text as a whole word.

    >>> mentions("eps * b_1", "b"), mentions("eps * b_1", "b_1")
    (False, True)
    """
    words = "".join(char if char.isalnum() or char == "_" else " " for char in text).split()
    return name in words


def word(text: str) -> str:
    """Part of a readable name: an identifier as it is, a number without its point."""
    return "".join(char if char.isalnum() or char == "_" else "_" for char in text).strip("_") or "x"
