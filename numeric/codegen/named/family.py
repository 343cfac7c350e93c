"""What the laws with names have in common: n independent coordinates, each with parameters of its own."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, NoReturn

from derive.language.errors import UsageError
from derive.language.term import Log
from numeric.codegen.expressions import Code, Level, Shape, call, number, plus, times
from numeric.codegen.families import Assign, Family

UNIFORM = "uniform = torch.rand({shape}, {like}).clamp(eps, 1 - eps)"
"""Never 0 or 1, where the inverse distribution functions are infinite."""

UNIT = number(Fraction(1))


@dataclass(frozen=True)
class Named(Family):
    """A law at expressions for its parameters, each a number or a tensor (*batch, n); `like` has their dtype and device.

    The source of each formula is the logarithm of the density in `derive.language.named`, differentiated by hand; a contract
    test holds it against torch.distributions and scipy.stats.
    """

    given: tuple[Code, ...]
    like: str
    inside: ClassVar[str] = ""
    """Where the density is not zero, of x; nothing where that is everywhere, or where the formula is -inf by itself."""

    @abstractmethod
    def log_density(self, x: str, assign: Assign) -> Code:
        """log p(x) of each coordinate."""

    @abstractmethod
    def slope(self, x: str, i: int, assign: Assign) -> Code:
        """The derivative of log p(x) of a coordinate by the i-th parameter, which is a tensor."""

    def log_prob(self, b: str, assign: Assign, standard: str | None = None) -> str:
        return f"({self._for_each(b, assign)}).sum(-1)"

    def log_prob_anywhere(self, b: str, assign: Assign) -> str:
        """log p(b) where b may lie outside of the support: -inf there."""
        if not self.inside:
            return self.log_prob(b, assign)
        return f"torch.where({self.inside.format(x=b)}, {self._for_each(b, assign)}, -math.inf).sum(-1)"

    def _for_each(self, b: str, assign: Assign) -> str:
        """log p of each coordinate, a tensor also where it is the same for all, as that of Beta(1, 1)."""
        code = self.log_density(b, assign)
        return code.text if code.shape is not Shape.NUMBER else plus([code, of(f"torch.zeros_like({b})")]).text

    def score(self, b: str, parameter: str, assign: Assign) -> str:
        self._refuse("score by a tensor, but by the terms of its parameters")

    def mean(self, assign: Assign) -> str:
        self._refuse("mean")

    def pull_mean(self, slope: str, parameter: str, assign: Assign) -> str | None:
        self._refuse("mean")

    def _refuse(self, what: str) -> NoReturn:
        message = f"a {self.name} law has no {what} in generated code: draw from it, or write that with its parameters."
        raise UsageError(message)

    def full(self, parameter: Code, shape: str) -> str:
        """A parameter for each sample: a tensor of that shape."""
        if parameter.shape is Shape.NUMBER:
            return f"torch.full({shape}, {parameter.text}, dtype={self.like}.dtype, device={self.like}.device)"
        return f"{parameter.at(Level.ATOM)}.expand({shape})"

    def uniform(self, shape: str) -> str:
        """The statement that draws uniform noise."""
        like = f"generator=generator, dtype={self.like}.dtype, device={self.like}.device"
        return UNIFORM.format(shape=shape, like=like)


def minus(code: Code) -> Code:
    """The negative of an expression."""
    if code.level > Level.SUM and code.text.startswith("-"):
        return Code(code.text[1:], code.shape, code.level)
    return times([number(Fraction(-1)), code])


def less_one(code: Code) -> Code:
    """An expression less one."""
    return number(Fraction(0)) if code.text == "1" else plus([code, number(Fraction(-1))])


def below(code: Code) -> list[Code]:
    """What a quotient is divided by; nothing where that is one."""
    return [] if code.text == "1" else [code]


def log(code: Code) -> Code:
    """The logarithm of a positive expression; that of one is zero."""
    return number(Fraction(0)) if code.text == "1" else call(Log, code)


def special(function: str, code: Code) -> Code:
    """A special function that torch has, and math has for numbers: lgamma, log1p."""
    return Code(f"{'math' if code.shape is Shape.NUMBER else 'torch'}.{function}({code.text})", code.shape)


def digamma(code: Code) -> Code:
    """The derivative of lgamma, at a tensor."""
    return of(f"torch.digamma({code.text})")


def of(text: str) -> Code:
    """A tensor with an entry for each coordinate."""
    return Code(text, Shape.COORDINATE)
