"""The function `draw` of a generated module: it samples the noise of an estimator, in the order of its draws."""

from __future__ import annotations

from itertools import groupby

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.scope import free
from derive.language.term import FiniteLaw, Law, NamedLaw, NormalLaw, Number, RandomVariable, UniformLaw
from numeric.codegen.expressions import Names, mentions, number, wrapped
from numeric.codegen.families import Normal
from numeric.codegen.inventory import constants_of
from numeric.codegen.walk import Walk


def draw_source(estimator: Estimator, walk: Walk) -> str:
    """The function `draw`; the walk is a new one, whose statements are those of `draw` alone."""
    body, like = [], walk.tensors[0]
    for group in draw_groups(estimator, walk):
        text = _draw_text(group, walk, like)
        body += [*walk.write.lines, *(part for line in text for part in wrapped(line))]
        walk.write.lines.clear()
    entries = ", ".join(f'"{name}": {name}' for name in map(walk.write.names.of, estimator.draws))
    keywords = "".join(f", {name}" for name in drawn_with(estimator, walk.write.names))
    keywords = f", *{keywords}" if keywords else ""
    lines = ["@torch.no_grad()", f"def draw({walk.argument}, generator=None, sample_shape=(){keywords}):"]
    if not estimator.draws:
        return "\n".join([*lines, '    """Sample nothing: the formula has no draws."""', "    return {}"])
    opening = [f"shape = (*sample_shape, *{like}.shape{walk.batch(like)})"]
    ends = {name: any(mentions(line, name) for line in body) for name in ("eps", "tiny")}
    opening += [f"{name} = torch.finfo({like}.dtype).{name}" for name, used in ends.items() if used]
    every = [*opening, *body, *wrapped(f"return {{{entries}}}")]
    lines.append('    """Sample the noise, each entry of shape (*sample_shape, *batch, n)."""')
    return "\n".join([*lines, *(f"    {line}" for line in [*walk.unpack(every), *every])])


def draw_groups(estimator: Estimator, walk: Walk) -> list[list[RandomVariable]]:
    """The draws in their order, neighbours of the same law and shape together: one call samples them, row by row.

    So the noise of the first rows is the same whether or not others are drawn after them.
    """
    groups = groupby(estimator.draws, key=lambda draw: (draw.law, walk.shape_of(draw)))
    return [part for (law, _), draws in groups for part in _together(law, list(draws))]


def _together(law: Law, draws: list[RandomVariable]) -> list[list[RandomVariable]]:
    given = isinstance(law, FiniteLaw) and law.given
    moved = isinstance(law, NormalLaw) and not all(isinstance(term, Number) for term in law.terms)
    alone = given or moved or isinstance(law, NamedLaw)
    return [[draw] for draw in draws] if alone else [draws]


def drawn_with(estimator: Estimator, names: Names) -> tuple[str, ...]:
    """The constants of the laws of the draws."""
    leaves = {leaf for draw in estimator.draws for term in draw.law.terms for leaf in free(term)}
    return tuple(names.of(symbol) for symbol in constants_of(estimator) if symbol in leaves)


def _draw_text(group: list[RandomVariable], walk: Walk, first: str) -> list[str]:
    """The statements that sample draws of one law; those of several stand side by side in each row, until they are parted."""
    shape, names = walk.shape_of(group[0]), ", ".join(walk.write.names.of(draw) for draw in group)
    if len(group) == 1:
        *before, text = _sampled(group[0], walk, first, shape)
        return [*before, f"{names} = {text}"]
    *before, text = _sampled(group[0], walk, first, "rows", ".unsqueeze(-2)")
    rows = f"rows = {_with_copies(shape, len(group))}"
    return [rows, *before, f"drawn = {text}", f"{names} = torch.stack(drawn.unbind(-2))"]


def _with_copies(shape: str, count: int) -> str:
    if shape == "shape":
        return f"(*shape[:-1], {count}, shape[-1])"
    return shape.replace("(*shape, ", f"(*shape, {count}, ", 1)


def _sampled(draw: RandomVariable, walk: Walk, first: str, shape: str, at: str = "") -> list[str]:
    """The statements that sample one draw; a uniform stays inside its open interval."""
    like = f"generator=generator, dtype={first}.dtype, device={first}.device"
    match draw.law:
        case UniformLaw(Number(low), Number(high)):
            text = f"torch.rand({shape}, {like}).clamp(eps, 1 - eps)"
            return [text if (low == 0 and high == 1) else f"{number(low).text} + {number(high - low).text} * {text}"]
        case NormalLaw(Number(loc), Number(scale)):
            text = f"torch.randn({shape}, {like})"
            return [text if (loc == 0 and scale == 1) else f"{number(loc).text} + {number(scale).text} * {text}"]
        case UniformLaw():
            message = f"{draw.name} is uniform between terms; the generated code draws uniform noise between numbers only."
            raise UsageError(message)
    law = walk.law(draw.law)
    if isinstance(law, Normal) and law is not walk.family:
        return [f"{law.loc} + {law.scale} * torch.randn({shape}, {like})"]
    return law.draw(shape, at)
