"""The calls of the user's functions in the statements of `estimate`: what is evaluated where, and several calls as one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from numeric.codegen.expressions import mentions, sides

AT_ONCE = '''
def at_once(f, *points):
    """Return f at each of the points: of few numbers in one call, for a call costs more than they do."""
    return f(torch.stack(points)) if points[0].numel() < 16384 else [f(point) for point in points]
'''

AT_EACH = '''
def at_each(f, points):
    """Return f at each of the points: of few numbers in one call, of many one after the other."""
    return f(points) if points[0].numel() < 16384 else torch.stack([f(point) for point in points])
'''

VALUES_AND_GRADIENTS = '''
def values_and_gradients(f, *points):
    """Return f and its derivative at each of the points: of few numbers in one call."""
    few = points[0].numel() < 16384
    return zip(*value_and_gradient(f, torch.stack(points))) if few else [value_and_gradient(f, x) for x in points]
'''

BY_ORDER = (
    re.compile(r"(?P<result>\w+) = (?P<function>\w+)\((?P<point>\w+)\)"),
    re.compile(r"(?P<result>\w+, \w+) = value_and_gradient\((?P<function>\w+), (?P<point>\w+)\)"),
    re.compile(
        r"(?P<result>\w+) = slope_gradient\((?P<function>\w+), (?:\*torch\.broadcast_tensors\()?(?P<point>\w+), \w+\)+"
    ),
    re.compile(r"(?P<result>\w+) = curvature\((?P<function>\w+), (?P<point>\w+)\)"),
)
SECOND = 2
STACKED = re.compile(r"(?P<name>\w+) = torch\.stack\(\((?P<points>\w+(, \w+)+)\)\)")
"""Samples in one tensor, side by side."""


@dataclass(frozen=True)
class Call:
    """A statement that evaluates a function of the user at one point, with so many derivatives."""

    line: str
    result: str
    function: str
    point: str
    order: int


def calls_in(lines: Iterable[str], functions: Iterable[str]) -> list[Call]:
    """The statements that are no more than one function of the user at one named point.

    >>> [call.point for call in calls_in(["f_b = f(b)", "w = g(b)", "f_z, df_z = value_and_gradient(f, z)"], ["f"])]
    ['b', 'z']
    """
    return [call for line in lines if (call := _call(line)) is not None and call.function in set(functions)]


def spread(calls: list[Call], lines: Iterable[str]) -> list[Call]:
    """The same calls, with the samples themselves as points where those are one tensor.

    >>> lines = ["b = torch.stack((b_1, b_2))", "f_b = f(b)"]
    >>> [call.point for call in spread(calls_in(lines, ["f"]), lines)]
    ['b_1, b_2']
    """
    samples = _stacks(lines)
    return [replace(call, point=samples.get(call.point, call.point)) for call in calls]


def _stacks(lines: Iterable[str]) -> dict[str, str]:
    found = map(STACKED.fullmatch, lines)
    return {stack["name"]: stack["points"] for stack in found if stack is not None}


def _call(line: str) -> Call | None:
    for order, pattern in enumerate(BY_ORDER):
        if (found := pattern.fullmatch(line)) is not None:
            return Call(line, found["result"], found["function"], found["point"], order)
    return None


def joined(lines: list[str], functions: Iterable[str], drawn: frozenset[str]) -> list[str]:
    """The statements with calls of one function at several points put together, each of these of the shape of the draws.

    >>> joined(["f_x = f(x)", "y = 2 * x", "f_y = f(y)"], ["f"], frozenset({"x"}))
    ['y = 2 * x', 'f_x, f_y = at_once(f, x, y)']
    >>> joined(["b = torch.stack((b_1, b_2))", "f_b = f(b)"], ["f"], frozenset())[-1]
    'f_b = at_each(f, b)'
    """
    stacks = _stacks(lines)
    for function in functions:
        for order in (0, 1):
            calls = [call for call in calls_in(lines, [function]) if call.order == order and call.point not in stacks]
            lines = _together(lines, [call for call in calls if _is_sample(call.point, lines, drawn)])
    calls = [call for call in calls_in(lines, functions) if call.point in stacks]
    each = {call.line: f"{call.result} = at_each({call.function}, {call.point})" for call in calls}
    return [each.get(line, line) for line in lines]


def _together(lines: list[str], calls: list[Call]) -> list[str]:
    """One statement in place of the last of the calls, and after it what uses the others."""
    own, last = {call.line for call in calls}, calls[-1].line if calls else ""
    if len(calls) < 2 or own & _needed_for({call.point for call in calls}, lines):
        return lines
    results = {name for call in calls for name in call.result.split(", ")}
    before, after = [], []
    for line in lines[: lines.index(last)]:
        left, right = sides(line)
        if line not in own and any(mentions(right, name) for name in results):
            results |= set(left)
            after.append(line)
        elif line not in own:
            before.append(line)
    return [*before, _joint(calls), *after, *lines[lines.index(last) + 1 :]]


def _joint(calls: list[Call]) -> str:
    points = ", ".join([calls[0].function, *(call.point for call in calls)])
    if calls[0].order:
        return f"{', '.join(f'({call.result})' for call in calls)} = values_and_gradients({points})"
    return f"{', '.join(call.result for call in calls)} = at_once({points})"


def _needed_for(names: set[str], lines: list[str]) -> set[str]:
    """The statements that have a part in the values of these names."""
    needed: set[str] = set()
    for line in reversed(lines):
        left, right = sides(line)
        if any(name in left for name in names):
            needed.add(line)
            names = names | set(re.findall(r"\w+", right))
    return needed


def _is_sample(point: str, lines: list[str], drawn: frozenset[str]) -> bool:
    """Whether a vector is made of draws, and not of every outcome."""
    words = {word for line in _needed_for({point}, lines) for word in re.findall(r"\w+", line)} | {point}
    return bool(words & drawn) and "every_outcome" not in words


def said_of(calls: list[Call]) -> list[str]:
    """Where functions are evaluated, one sentence for each.

    >>> said_of(calls_in(["f_b = f(b)", "f_z, df_z = value_and_gradient(f, z)"], ["f"]))
    ['f is evaluated once at b, and once with its derivative at z.']
    """
    return [_said(name, [call for call in calls if call.function == name]) for name in dict.fromkeys(c.function for c in calls)]


def _said(function: str, calls: list[Call]) -> str:
    second, more = "with its second derivative", " more" if any(call.order < SECOND for call in calls) else ""
    how = ("once", "once with its derivative", f"once{more} {second}", f"once for each entry {second} by it")
    at = [", ".join(call.point for call in calls if call.order == order) for order in range(len(how))]
    parts = [f"{said} at {points}" for said, points in zip(how, at, strict=True) if points]
    return f"{function} is evaluated {', and '.join(parts)}."
