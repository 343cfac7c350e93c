"""torch.compile and torch.func.vmap take estimators whole, and give what they give; draws are made where the parameters are."""

from __future__ import annotations

import gc
import linecache
import sys
from dataclasses import replace
from functools import cache
from importlib import import_module

import pytest
import torch
from torch._subclasses import FakeTensorMode

from derive.catalogue import catalogue
from numeric.checking.cases import Case
from numeric.codegen.running.module import module_of
from numeric.codegen.torchgen import generate, usual_families
from numeric.codegen.torchrun import Compiled, compile
from tests.families import WITHOUT_CODE

EVERY = [(name, family) for name in catalogue if name not in WITHOUT_CODE for family in usual_families(catalogue[name])]
USUAL = """
score-function control-variate leave-one-out pathwise iwae rebar relax vimco nvil-baseline rebar-variance-lambda
relax-variance-phi importance-sampling evolution-strategies
""".split()
"""What has between them every helper and every kind of parameter; the others are compiled in the long run of all tests."""
SOME = [(name, family) for name, family in EVERY if name in USUAL]
OTHERS = [pytest.param(*one, marks=pytest.mark.exhaustive) for one in EVERY if one not in SOME]
SAMPLES = 3


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Setting:
    """An estimator with parameters, functions and constants for it."""

    def __init__(self, name: str, family: str) -> None:
        self.compiled = compile(catalogue[name], family)
        case = Case(catalogue[name], family, "cpu", 1 if family in {"normal", "vector"} else 2)
        known = {*self.compiled.functions, *self.compiled.constants}
        self.params, self.objective, self.drawn_with = case.shaped(case.parameters(0)), case.objective, case.drawn_with(0)
        self.keywords = {key: value for key, value in case.keywords(0).items() if key in known}
        self.noise = self.draw(self.params, torch.Generator().manual_seed(0))

    def draw(self, params, generator=None):
        return self.compiled.draw(params, generator, (SAMPLES,), **self.drawn_with)

    def estimate(self, params, noise):
        return self.compiled.estimate(params, noise, *self.objective, **self.keywords)

    def __call__(self, params):
        return self.compiled(params, *self.objective, **self.keywords)


def parts(found) -> dict[str, torch.Tensor]:
    return found if isinstance(found, dict) else {"": found}


def assert_same(found, expected) -> None:
    torch.testing.assert_close(parts(found), parts(expected), rtol=1e-10, atol=1e-12)


def assert_alike(found, expected) -> None:
    assert {key: (part.shape, part.dtype) for key, part in parts(found).items()} == {
        key: (part.shape, part.dtype) for key, part in parts(expected).items()
    }


SLOW = {("rebar-variance-lambda", "categorical"), ("relax-variance-phi", "categorical")}
"""Their helpers are compiled for bits, and those of classes for REBAR and RELAX."""


@pytest.mark.parametrize(
    ("name", "family"), [pytest.param(*one, marks=pytest.mark.exhaustive) if one in SLOW else one for one in SOME] + OTHERS
)
def test_the_whole_of_an_estimator_is_one_graph(name, family):
    setting = Setting(name, family)
    estimate, whole = (torch.compile(part, fullgraph=True, backend="eager") for part in (setting.estimate, setting))
    assert_same(estimate(setting.params, setting.noise), setting.estimate(setting.params, setting.noise))
    assert_alike(whole(setting.params), setting(setting.params))


@pytest.mark.parametrize(("name", "family"), [("leave-one-out", "bernoulli"), ("rebar", "categorical"), ("iwae", "normal")])
def test_draws_alone_are_one_graph(name, family):
    setting = Setting(name, family)
    assert_alike(torch.compile(setting.draw, fullgraph=True, backend="eager")(setting.params), setting.noise)


@pytest.mark.parametrize(("name", "family"), SOME + OTHERS)
def test_vmap_over_noise_and_over_parameters_gives_what_a_batch_gives(name, family):
    setting = Setting(name, family)
    expected = setting.estimate(setting.params, setting.noise)
    if setting.noise:
        assert_same(torch.func.vmap(lambda noise: setting.estimate(setting.params, noise))(setting.noise), expected)
    twice = {key: part.expand(2, *part.shape) for key, part in parts(setting.params).items()}
    stacked = twice if isinstance(setting.params, dict) else twice[""]
    both = torch.func.vmap(lambda params: setting.estimate(params, setting.noise))(stacked)
    assert_same({key: part[1] for key, part in parts(both).items()}, parts(expected))
    drawn = torch.func.vmap(setting.draw, randomness="different")(stacked)
    assert {key: part.shape for key, part in drawn.items()} == {key: (2, *part.shape) for key, part in setting.noise.items()}
    assert {part.shape[0] for part in parts(torch.func.vmap(setting, randomness="different")(stacked)).values()} == {2}


def test_many_bits_are_drawn_in_one_graph_and_under_vmap():
    draw, logits = compile(catalogue["score-function"]).draw, torch.zeros(2, 600)
    assert torch.compile(draw, fullgraph=True, backend="eager")(logits)["b"].shape == (2, 600)
    drawn = torch.func.vmap(draw, randomness="different")(logits)["b"]
    assert drawn.shape == (2, 600)
    assert not torch.equal(drawn[0], drawn[1])


def test_an_estimator_that_compiles_itself_draws_as_before_and_gives_the_same():
    rebar = compile(catalogue["rebar"])
    itself = rebar.compile(backend="eager")
    logits = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(3, 5)

    def f(b):
        return (b - 0.499).square().sum(-1)

    for _ in range(2):
        found, expected = (one(logits, f, generator=torch.Generator().manual_seed(1), samples=7) for one in (itself, rebar))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_an_estimator_that_compiles_itself_is_compiled_once_for_a_function_and_a_shape():
    counted = import_module("torch._dynamo.testing").CompileCounter()  # takes long to import, in each worker
    itself = compile(catalogue["score-function"]).compile(backend=counted)
    for logits in (torch.zeros(3, 5), torch.ones(3, 5), torch.ones(3, 5)):
        itself(logits, first_bit)
    assert counted.frame_count == 1


def first_bit(b):
    return b[..., 0]


def test_what_a_compiled_estimator_left_in_the_interpreter_goes_with_it():
    before = {name for name in sys.modules if name.startswith("<gradproof")}
    compiled = compile(catalogue["score-function"])
    again = compiled.compile(backend="eager")
    (own,) = {name for name in sys.modules if name.startswith("<gradproof")} - before
    del compiled
    gc.collect()
    assert own in sys.modules
    assert own in linecache.cache
    del again
    gc.collect()
    assert own not in sys.modules
    assert own not in linecache.cache


def test_source_that_does_not_run_leaves_nothing_behind():
    with pytest.raises(ZeroDivisionError):
        module_of("1 / 0", "wrong")
    assert not [name for name in [*sys.modules, *linecache.cache] if name.startswith("<gradproof wrong")]


# Placement on a GPU that is not there: a fake tensor has a device and no numbers


generated_once = cache(lambda name, family: generate(catalogue[name], family))

TABLES = """
sequence-importance-sampling per-decision-importance-sampling token-importance-sampling reinforce-two-steps reward-to-go
immediate-reward state-baseline action-baseline actor-critic actor-critic-exact all-action generalized-advantage
generalized-advantage-one
""".split()
"""Rows of a table are taken by an index, which torch refuses for a GPU that it was built without."""


def test_these_have_tables_and_no_others():
    found = {one for one in EVERY if any(law.conditions for law in generated_once(*one).laws)}
    assert found == {one for one in EVERY if one[0] in TABLES}


@pytest.mark.parametrize(("name", "family"), [one for one in EVERY if one[0] not in TABLES])
def test_draws_for_parameters_on_a_gpu_are_made_there(name, family):
    shapes = {key: part.shape for key, part in parts(Setting(name, family).params).items()}
    generated, module = generated_once(name, family), {}
    exec(generated.source, module)  # noqa: S102, the text is our own
    with FakeTensorMode():
        params = {key: torch.zeros(shape, device="cuda") for key, shape in shapes.items()}
        drawn = module["draw"](params.get("", params), None, (3,), **dict.fromkeys(generated.drawn_with, 0.5))
    assert {tensor.device.type for tensor in drawn.values()} <= {"cuda"}


# Placement anywhere but on the CPU: a meta tensor has a device and no numbers, and does not add up with one on the CPU


def run_on_meta(compiled: Compiled, name: str, family: str):
    case = Case(catalogue[name], family, "meta", 1 if family in {"normal", "vector"} else 2)
    known = {*compiled.functions, *compiled.constants}
    keywords = {key: value for key, value in case.keywords(0).items() if key in known}
    params = case.shaped(case.parameters(0))
    drawn = compiled.draw(params, None, (SAMPLES,), **case.drawn_with(0))
    return drawn, parts(compiled.estimate(params, drawn, *case.objective, **keywords))


@pytest.mark.parametrize(("name", "family"), EVERY)
def test_draws_and_estimates_are_where_the_parameters_are(name, family):
    drawn, found = run_on_meta(Compiled(catalogue[name], generated_once(name, family)), name, family)
    assert {part.device.type for part in [*drawn.values(), *found.values()]} == {"meta"}


@pytest.mark.parametrize(
    ("name", "family", "here"),
    [
        ("rebar", "bernoulli", ", device=logits.device"),
        ("pathwise", "normal", ", device=loc.device"),
        ("control-variate", "bernoulli", ", device=logits.device"),
        ("control-variate", "categorical", ", device=logits.device"),
    ],
)
def test_a_tensor_that_is_left_on_the_cpu_raises(name, family, here):
    generated = generate(catalogue[name], family)
    assert here in generated.source
    left = Compiled(catalogue[name], replace(generated, source=generated.source.replace(here, "")))
    with pytest.raises(RuntimeError, match="device"):
        run_on_meta(left, name, family)
