"""What stands in a generated module before its two functions: what it is, its imports, and the helpers that they call."""

from __future__ import annotations

import re
from textwrap import wrap

from derive.language.choice import ChoiceLaw
from derive.language.estimator import Estimator
from derive.language.named import PARAMETERS
from derive.language.term import NamedLaw
from numeric.codegen.backward import SLOPE_GRADIENT
from numeric.codegen.curvature import CURVATURE, GRADIENT, JACOBIAN, VALUE_AND_SLOPE, Curvature
from numeric.codegen.expressions import LINE
from numeric.codegen.meaning.instances import densities_of, mean_alone
from numeric.codegen.named.explicit import CHOOSE, ENTRY_AT
from numeric.codegen.statements.calls import AT_EACH, AT_ONCE, VALUES_AND_GRADIENTS, Call, said_of

VALUE_AND_GRADIENT = '''
def value_and_gradient(f, x):
    """Return f(x), shape (*batch), and its derivative at x, shape (*batch, n)."""
    if torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None:
        y, pull = torch.func.vjp(f, x)
        return y, *pull(torch.ones_like(y))
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        y = f(x)
    if not y.requires_grad:
        return y, torch.zeros_like(x)
    (dy,) = torch.autograd.grad(y, x, torch.ones_like(y), materialize_grads=True)
    return y.detach(), dy
'''


def header(estimator: Estimator, walk: Curvature, calls: list[Call]) -> str:
    """The documentation of the module, and a place for its imports."""
    lines = [f"{_plain(estimator.name)}, {walk.family.name} family."]
    lines += ["", *wrap(_plain(estimator.summary), LINE)] if estimator.summary else []
    lines += ["", f"Source: {_plain(estimator.source)}."] if estimator.source else []
    instances = [f"{law.name} is any density, and normal here." for law in densities_of(estimator)]
    mean, theta = mean_alone(estimator), estimator.parameter.name
    instances += [f"{theta} is the mean {mean.name}({theta})."] if mean is not None and walk.family.name == "vector" else []
    instances += [_spelled(draw.name, draw.law) for draw in estimator.draws if isinstance(draw.law, NamedLaw)]
    lines += ["", *wrap(" ".join([f"{walk.shapes_of_parameters()}.", *instances]), LINE)]
    text = "\n".join(lines + ["", *wrap(" ".join(said_of(calls)), LINE)] * bool(calls))
    return f'"""{text}\n"""\n\nIMPORTS'


def _spelled(name: str, law: NamedLaw) -> str:
    """A sentence with the law of a draw, and its parameters by name."""
    if isinstance(law, ChoiceLaw):
        rows = [f"({', '.join(map(str, row))})" for row in law.joint] or map(str, law.values)
        return _plain(f"{name} is {', '.join(f'{row} with {term}' for row, term in zip(rows, law.terms, strict=True))}.")
    given = ", ".join(f"{parameter} = {term}" for parameter, term in zip(PARAMETERS[law.name], law.terms, strict=True))
    return _plain(f"{name} is {law.name}({given}).")


def _plain(text: str) -> str:
    """A user's text made harmless inside a docstring: one line, no quotes, no backslashes."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())


def with_imports(source: str) -> str:
    """The module with the imports that it needs."""
    lines = ["import math\n" if "math." in source else "", "import torch"]
    if "logsigmoid(" in source:
        lines.append("\nfrom torch.nn.functional import logsigmoid")
    return source.replace("IMPORTS", "\n".join(lines).replace("\n\n", "\n").strip(), 1)


def helpers_of(walk: Curvature, text: str) -> list[str]:
    """The functions that the text of `draw` and `estimate` calls."""
    helpers = [walk.outcomes.sampler] if "bernoulli(" in text else []
    calls = "\n".join([text, VALUES_AND_GRADIENTS * ("values_and_gradients(" in text)])
    helpers += [VALUE_AND_GRADIENT] if "value_and_gradient(" in calls else []
    helpers += [VALUE_AND_SLOPE] if "value_and_slope(" in text else []
    named = {"jacobian": JACOBIAN, "gradient": GRADIENT}
    helpers += [helper for name, helper in named.items() if re.search(rf"\b{name}\(", text)]
    helpers += [CHOOSE] if "choose(" in text else []
    helpers += [ENTRY_AT] if "entry_at(" in text else []
    helpers += [AT_ONCE] if "at_once(" in text else []
    helpers += [AT_EACH] if "at_each(" in text else []
    helpers += [VALUES_AND_GRADIENTS] if "values_and_gradients(" in text else []
    helpers += [SLOPE_GRADIENT] if walk.differentiates_twice else []
    helpers += [CURVATURE] if walk.has_curvature else []
    helpers += [walk.outcomes.every_outcome] if walk.enumerates else []
    rows = walk.outcomes.every_row if any(one.conditions for one in walk.laws) else ""
    return helpers + ([rows] if rows else [])
