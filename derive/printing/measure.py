"""About how wide LaTeX prints our formulas, in points of Computer Modern at 10 pt: to break lines where no TeX is at hand."""

from __future__ import annotations

import re

from derive.printing.breaking import unmarked

_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|.", re.DOTALL)
_NARROW = dict.fromkeys("()", 3.9) | dict.fromkeys("[]|", 2.8) | dict.fromkeys("'.", 2.8) | dict.fromkeys(" {}&", 0.0)
_SPACED = {"+": 12.3, "-": 12.3, "=": 13.4, ",": 4.5, ";": 4.5, "<": 13.4, ">": 13.4}
_WIDE = {"f": 6.0, "m": 8.8, "w": 7.2, "i": 3.5, "j": 4.6, "l": 3.0, "t": 3.6, "r": 4.8, "s": 4.7, "E": 7.7, "H": 9.1, "L": 6.8}
_COMMANDS = {
    r"\,": 1.7, r"\quad": 10.0, r"\cdot": 7.2, r"\mid": 8.4, r"\sim": 13.4, r"\partial": 5.9, r"\sum": 16.2, r"\int": 11.2,
    r"\log": 14.5, r"\exp": 17.0, r"\cdots": 13.4, r"\colon": 5.0, r"\ ": 3.3, r"\left": 2.2, r"\right": 2.2, r"\bigl": 0.7,
    r"\Bigl": 1.5, r"\Bigr": 1.5, r"\enspace": 5.0, r"\psi": 6.9, r"\bigr": 0.7, r"\infty": 10.0, r"\displaystyle": 0.0,
    r"\max": 20.3, r"\min": 18.4, r"\lvert": 2.8, r"\rvert": 2.8,
}  # fmt: skip
_FONTS = {
    r"\mathrm", r"\text", r"\mathbb", r"\mathcal", r"\mathbf", r"\tilde", r"\hat", r"\bar", r"\ensuremath", r"\operatorname",
}  # fmt: skip
_SCRIPT, _GREEK, _LETTER, _BAR, _ROOT = 0.75, 6.0, 5.2, 2.4, 8.4


def points(latex: str) -> float:
    r"""Return about how wide a formula is.

    >>> 50 < points(r"\frac{1}{2} \, f(b)^{2} + x") < 65
    True
    """
    return _Measured(_TOKEN.findall(unmarked(latex))).rest()


class _Measured:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens[::-1]

    def rest(self) -> float:
        """Measure up to the closing brace, or the end."""
        width = 0.0
        while self.tokens:
            token = self.tokens.pop()
            if token == "}":
                break
            width += self._of(token)
        return width

    def _of(self, token: str) -> float:
        if token == "{":
            return self.rest()
        if token == "^" or token == "_":
            return self._scripts(token)
        if token == r"\frac":
            return max(self._next(), self._next()) + _BAR
        if token == r"\sqrt":
            return self._next() + _ROOT
        if token == r"\overset":
            return max(_SCRIPT * self._next(), self._next())
        if token in _FONTS:
            return self._next()
        return self._symbol(token)

    def _symbol(self, token: str) -> float:
        if token.startswith("\\"):
            return _COMMANDS.get(token, _GREEK)
        return _NARROW.get(token) if token in _NARROW else _SPACED.get(token, _WIDE.get(token, _LETTER))  # type: ignore[return-value]

    def _scripts(self, sign: str) -> float:
        """A subscript and a superscript of one base stand above each other."""
        width = _SCRIPT * self._next()
        if self.tokens and self.tokens[-1] in "^_" and self.tokens[-1] != sign:
            self.tokens.pop()
            width = max(width, _SCRIPT * self._next())
        return width + 0.5

    def _next(self) -> float:
        while self.tokens and self.tokens[-1] == " ":
            self.tokens.pop()
        return self._of(self.tokens.pop()) if self.tokens else 0.0
