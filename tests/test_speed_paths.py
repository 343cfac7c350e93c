"""What is done to be fast changes nothing: checks made once, calls joined, batches in parts; and f is not evaluated twice."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from derive.catalogue import catalogue
from derive.catalogue.leave_one_out import leave_one_out
from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.notation import E, finite, function, grad, parameter, score, uniform
from numeric.codegen.inputs import is_finite
from numeric.codegen.running import chunks
from numeric.codegen.statements.calls import joined
from numeric.codegen.torchgen import emit
from numeric.codegen.torchrun import compile

LOGITS = torch.linspace(-2, 2, 15, dtype=torch.float64).reshape(3, 5)


class Counted:
    """A function that counts the points at which it is evaluated, and remembers how many came at once."""

    def __init__(self) -> None:
        self.points, self.most = 0, 0

    def __call__(self, b, *_):
        self.points += b[..., 0].numel()
        self.most = max(self.most, b[..., 0].numel())
        return (b - 0.499).square().sum(-1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Evaluations


@pytest.mark.parametrize(
    ("estimator", "calls", "said"),
    [
        (catalogue["score-function"], 1, "f is evaluated once at b."),
        (catalogue["constant-baseline"], 1, "f is evaluated once at b."),
        (leave_one_out(4), 4, "f is evaluated once at b_1, b_2, b_3, b_4."),
        (catalogue["rebar"], 3, "f is evaluated once at b, and once with its derivative at sigma_z_tilde, sigma_z."),
        (catalogue["concrete"], 1, "f is evaluated once with its derivative at sigma_z."),
    ],
)
@pytest.mark.parametrize("batch", [2, 20_000])
def test_f_is_evaluated_once_for_each_sample_that_is_needed_as_the_module_says(estimator, calls, said, batch):
    f = Counted()
    compile(estimator)(torch.zeros(batch, 3), f)
    assert f.points == calls * batch
    assert said in emit(estimator)


def test_a_function_with_constants_is_evaluated_once_at_each_point_too():
    f, c = Counted(), Counted()
    compile(catalogue["relax"])(LOGITS, f, c=c, phi=torch.zeros(2))
    assert (f.points, c.points) == (3, 6)


def test_evaluations_for_a_second_derivative_are_counted_too():
    f, estimator = Counted(), catalogue["rebar-variance-lambda"]
    compile(estimator)(LOGITS, f, lambda_=torch.full((3, 1), 0.5, dtype=torch.float64))
    assert f.points == 5 * 3
    said = " ".join(emit(estimator).split())
    assert "once at b, and once with its derivative at sigma_z_tilde, sigma_z, and once more with its second derivative" in said


def test_calls_that_are_joined_stand_before_what_needs_them_for_several_functions_too():
    lines = ["f_x, df_x = value_and_gradient(f, x)", "c_x, dc_x = value_and_gradient(c, x)", "g = f_x + c_x"]
    lines += ["c_y, dc_y = value_and_gradient(c, y)", "h = g + c_y", "f_y, df_y = value_and_gradient(f, y)"]
    assert joined(lines, ["c", "f"], frozenset({"x", "y"})) == [
        "(c_x, dc_x), (c_y, dc_y) = values_and_gradients(c, x, y)",
        "(f_x, df_x), (f_y, df_y) = values_and_gradients(f, x, y)",
        "g = f_x + c_x",
        "h = g + c_y",
    ]
    lines = ["f_x, df_x = value_and_gradient(f, x)", "w = x + df_x", "c_x, dc_x = value_and_gradient(c, x)"]
    lines += ["c_w, dc_w = value_and_gradient(c, w)", "h = c_x + c_w", "f_y, df_y = value_and_gradient(f, y)"]
    assert joined(lines, ["c", "f"], frozenset({"x", "y"})) == [
        "(f_x, df_x), (f_y, df_y) = values_and_gradients(f, x, y)",
        "w = x + df_x",
        "(c_x, dc_x), (c_w, dc_w) = values_and_gradients(c, x, w)",
        "h = c_x + c_w",
    ]
    needed = ["f_x, df_x = value_and_gradient(f, x)", "y = x + df_x", "f_y, df_y = value_and_gradient(f, y)"]
    assert joined(needed, ["f"], frozenset({"x"})) == needed


@pytest.mark.parametrize("name", ["leave-one-out", "rebar", "iwae", "vimco"])
def test_several_points_in_one_call_or_one_after_the_other_are_the_same(name):
    compiled = compile(catalogue[name])
    params = {"loc": LOGITS, "log_scale": LOGITS / 4} if compiled.family == "normal" else LOGITS
    noise = compiled.draw(params, generator(), (2000,))
    few = [compiled.estimate(params, {key: part[k] for key, part in noise.items()}, Counted()) for k in range(3)]
    many = compiled.estimate(params, noise, Counted())
    for k, one in enumerate(few):
        if isinstance(one, dict):
            torch.testing.assert_close(one, {key: part[k] for key, part in many.items()}, rtol=1e-12, atol=1e-12)
        else:
            torch.testing.assert_close(one, many[k], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("count", [20, 500, 520, 4000])
def test_few_bits_and_many_are_those_that_torch_would_draw(count, dtype):
    logits = torch.linspace(-3, 3, count, dtype=dtype).reshape(20, -1)
    drawn = compile(catalogue["score-function"]).draw(logits, generator())["b"]
    assert torch.equal(drawn, torch.bernoulli(torch.sigmoid(logits), generator=generator()))


# Checks


def test_a_call_like_the_last_one_is_still_refused_where_f_is_not_finite_or_of_another_shape():
    compiled = compile(catalogue["score-function"])
    for wrong, message in (
        (lambda b: b.sum(-1) / 0, "finite real numbers"),
        (lambda b: b.sum(), r"expected shape \(1, 3\), got \(\)"),
        (lambda b: 1.0, "must return a tensor"),
        ("f", "expected a function"),
    ):
        compiled(LOGITS, Counted())
        with pytest.raises(UsageError, match=message):
            compiled(LOGITS, wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": LOGITS.long()}, "floating point dtype"),
        ({"params": LOGITS[0] / 0}, "nan or infinite"),
        ({"eta": float("nan")}, "expected a finite number"),
        ({"lambda_": torch.tensor(-1.0)}, "expected a positive finite number"),
        ({"samples": 0}, "samples must be a positive integer"),
        ({"samples": True}, "samples must be a positive integer"),
        ({"temperature": 1.0}, "unknown temperature"),
    ],
)
def test_what_changed_since_the_last_call_is_checked(change, message):
    compiled, usual = compile(catalogue["rebar"]), {"params": LOGITS, "eta": 1.0, "lambda_": torch.tensor(0.5), "samples": 1}
    compiled(f=Counted(), **usual)
    with pytest.raises(UsageError, match=message):
        compiled(f=Counted(), **(usual | change))
    compiled(f=Counted(), **usual)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("name", ["score-function", "leave-one-out", "rebar", "straight-through"])
@pytest.mark.parametrize("batch", [2, 200])
def test_parameters_that_became_nan_are_refused_in_a_call_like_the_last_one(name, family, batch):
    compiled, params = compile(catalogue[name], family), torch.zeros(batch, 4)
    compiled(params, Counted())
    params[0, 0] = torch.nan
    with pytest.raises(UsageError, match=f"1 of {4 * batch} that are nan"):
        compiled(params, Counted())


@pytest.mark.parametrize(
    ("name", "shape"), [("rebar", (1,)), ("concrete", (1,)), ("rebar-variance-lambda", (3, 1)), ("rebar-variance-eta", ())]
)
def test_a_temperature_that_became_negative_is_refused_in_a_call_like_the_last_one(name, shape):
    """Its estimates are finite, so only a check of the temperature itself sees it."""
    compiled, given = compile(catalogue[name]), {"lambda_": torch.full(shape, 0.5, dtype=torch.float64)}
    given |= {"eta": torch.ones(3, 1, dtype=torch.float64)} if name == "rebar-variance-eta" else {}
    compiled(LOGITS, Counted(), **given)
    with pytest.raises(UsageError, match="positive finite number"):
        compiled(LOGITS, Counted(), **(given | {"lambda_": -given["lambda_"]}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda z, _: z, "expected shape"),
        (lambda _z, _: 1.0, "must return a tensor"),
        (lambda z, _: z.sum(-1) / 0, "finite real numbers"),
        ("c", "expected a function"),
    ],
)
def test_other_functions_are_checked_in_every_call(wrong, message):
    compiled, given = compile(catalogue["relax"]), {"phi": torch.zeros(2)}
    compiled(LOGITS, Counted(), c=lambda z, _: z.sum(-1), **given)
    with pytest.raises(UsageError, match=message):
        compiled(LOGITS, Counted(), c=wrong, **given)


def test_a_learned_baseline_is_checked_in_every_call():
    compiled, given = compile(catalogue["nvil"]), {"psi": torch.zeros(2), "x": None}
    for wrong, message in (
        (lambda _x, psi: psi.sum() / 0, "C must return finite real numbers"),
        (lambda _x, psi: psi, "one number for each batch element"),
        ("C", "expected a function of constants"),
    ):
        compiled(LOGITS, Counted(), C=lambda _x, psi: psi.sum(), **given)
        with pytest.raises(UsageError, match=message):
            compiled(LOGITS, Counted(), C=wrong, **given)


def test_a_generator_of_another_device_is_refused_in_every_call():
    compiled = compile(catalogue["score-function"])
    compiled(LOGITS, Counted(), generator=generator())
    with pytest.raises(UsageError, match="the generator is on cuda, the parameters on cpu"):
        compiled(LOGITS, Counted(), generator=SimpleNamespace(device=torch.device("cuda")))


@pytest.mark.parametrize(
    "change", [{"device": "meta"}, {"dtype": torch.float64}, {"size": (3, 1)}], ids=["device", "dtype", "shape"]
)
def test_parameters_that_no_longer_agree_are_refused(change):
    compiled, usual = compile(catalogue["pathwise"]), {"size": (3, 2), "dtype": torch.float32}
    compiled({"loc": torch.zeros(**usual), "log_scale": torch.zeros(**usual)}, Counted())
    with pytest.raises(UsageError, match="must agree in shape, dtype and device"):
        compiled({"loc": torch.zeros(**usual), "log_scale": torch.zeros(**(usual | change))}, Counted())


def test_a_temperature_that_is_a_number_is_checked_in_every_call():
    compiled = compile(catalogue["rebar"])
    compiled(LOGITS, Counted(), lambda_=0.5)
    with pytest.raises(UsageError, match="positive finite number"):
        compiled(LOGITS, Counted(), lambda_=-0.5)


@pytest.mark.parametrize("constant", [torch.tensor(torch.nan), torch.tensor([torch.nan] * 3)])
def test_a_baseline_that_became_nan_is_refused_in_a_call_like_the_last_one(constant):
    compiled = compile(catalogue["constant-baseline"])
    compiled(LOGITS, Counted(), c=torch.zeros_like(constant))
    with pytest.raises(UsageError, match="finite number"):
        compiled(LOGITS, Counted(), c=constant)


def test_a_constant_of_another_dtype_leaves_the_dtype_of_the_estimate_in_every_call():
    compiled, c = compile(catalogue["constant-baseline"]), torch.zeros(3, dtype=torch.float64)
    assert [compiled(LOGITS.float(), lambda b: b.sum(-1), c=c).dtype for _ in range(3)] == [torch.float32] * 3


def test_numbers_whose_sum_overflows_are_finite_and_infinities_that_cancel_are_not():
    assert is_finite(torch.full((9,), 60_000.0, dtype=torch.float16))
    assert not is_finite(torch.tensor([torch.inf, -torch.inf]))
    assert not is_finite(torch.tensor([1.0, torch.inf]))


class Recorder(TorchDispatchMode):
    """Writes down what torch is asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.operations.append(str(operation))
        return operation(*args, **(kwargs or {}))


def test_who_watches_sees_every_call_do_the_same():
    """An audit runs a function again and again, and takes another course of it for hidden state."""
    compiled, seen = compile(catalogue["score-function"]), []
    compiled(LOGITS, Counted())
    for _ in range(2):
        with Recorder() as recorder:
            compiled(LOGITS, Counted())
        seen.append(recorder.operations)
    with Recorder() as recorder:
        compile(catalogue["score-function"])(LOGITS, Counted())
    assert seen == [recorder.operations] * 2


def test_without_checks_nothing_is_refused_and_the_estimate_is_the_same():
    compiled = compile(catalogue["rebar"])
    found, expected = (compiled(LOGITS, Counted(), generator=generator(), check=check) for check in (False, True))
    assert torch.equal(found, expected)
    assert compiled(LOGITS, lambda b: b.sum(-1) / 0, check=False).isnan().any()


def test_the_first_call_looks_at_what_later_ones_need_not():
    """Infinite logits have finite estimates: only a check of the logits themselves sees them."""
    infinite = LOGITS.clone()
    infinite[1, 0] = torch.inf
    assert compile(catalogue["score-function"])(infinite, Counted(), check=False).isfinite().all()
    with pytest.raises(UsageError, match="1 of 15 that are nan or infinite"):
        compile(catalogue["score-function"])(infinite, Counted())


# Memory and threads


@pytest.mark.parametrize("rowwise", [False, True])
@pytest.mark.parametrize("name", ["score-function", "leave-one-out", "rebar", "concrete", "vimco", "pathwise", "iwae"])
def test_what_the_user_gave_stays_as_it_is_and_the_estimate_has_memory_of_its_own(name, rowwise, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 8)
    compiled, params = setting(name, (6,), 2)
    leaves = {"loc": params["loc"], "log_scale": params["log_scale"]} if isinstance(params, dict) else {"": params}
    before = {key: part.clone() for key, part in leaves.items()}
    for part in leaves.values():
        part.requires_grad_()
    for f in (Counted(), lambda x: x.sum(-1)):
        for _ in range(2):
            found = compiled(params, f, generator=generator(), rowwise=rowwise)
            for gradient in found.values() if isinstance(found, dict) else [found]:
                assert not gradient.requires_grad
                gradient.add_(1)
    for key, part in leaves.items():
        assert torch.equal(part, before[key])
        assert part.grad is None


def test_one_estimator_in_several_threads_gives_each_what_it_would_get_alone():
    compiled = compile(catalogue["rebar"])

    def logits_of(k: int):
        return torch.linspace(-1, 1, 6 * (k + 1), dtype=torch.float64).reshape(-1, 3)

    def work(k: int):
        with torch.set_grad_enabled(k % 2 == 0):
            found = [compiled(logits_of(k), Counted(), generator=generator(k)) for _ in range(30)]
            assert torch.is_grad_enabled() is (k % 2 == 0)
        return found

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(work, range(4)))
    for k, found in enumerate(together):
        expected = compile(catalogue["rebar"])(logits_of(k), Counted(), generator=generator(k))
        assert all(torch.equal(one, expected) for one in found)


# Parts

ROWWISE = "score-function constant-baseline leave-one-out rebar concrete straight-through vimco iwae pathwise".split()


def setting(name: str, batch: tuple[int, ...], n: int):
    compiled = compile(catalogue[name])
    values = torch.randn(*batch, n, generator=generator(1), dtype=torch.float64)
    return compiled, {"loc": values, "log_scale": values / 4} if compiled.family == "normal" else values


@pytest.mark.parametrize("name", ROWWISE)
@pytest.mark.parametrize(
    ("batch", "n", "samples"), [((50, 7), 3, 1), ((50, 7), 8, 3), ((51, 7), 3, 3), ((5,), 3, 400), ((), 1, 1000)]
)
def test_parts_of_any_size_give_the_estimate_of_the_whole(name, batch, n, samples, monkeypatch):
    compiled, params = setting(name, batch, n)

    def estimate(size: int, **how):
        monkeypatch.setattr(chunks, "CHUNK", size)
        return compiled(params, Counted(), generator=generator(), samples=samples, **how)

    whole = estimate(2**20)
    for size in (40, 333, 1000):
        torch.testing.assert_close(estimate(size, rowwise=True), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("batch", "samples"), [((1000,), 1), ((10,), 100)])
def test_no_function_is_given_more_than_a_part(batch, samples, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 120)
    compiled, params = setting("rebar", batch, 3)
    for rowwise, most in ((True, 2 * 40), (False, 2 * 1000)):
        f = Counted()
        compiled(params, f, samples=samples, rowwise=rowwise)
        assert f.most <= most
        assert f.points == 3 * 1000


@pytest.mark.parametrize("name", ["score-function", "leave-one-out", "rebar", "concrete"])
@pytest.mark.parametrize(("batch", "n", "samples"), [((50, 7), 3, 1), ((5,), 3, 400)])
def test_classes_in_parts_are_those_of_the_whole(name, batch, n, samples, monkeypatch):
    compiled, logits = compile(catalogue[name], "categorical"), torch.randn(*batch, n, dtype=torch.float64)
    found = []
    for size in (2**20, 40, 333):
        monkeypatch.setattr(chunks, "CHUNK", size)
        found.append(compiled(logits, Counted(), generator=generator(), samples=samples, rowwise=True))
    for part in found[1:]:
        torch.testing.assert_close(part, found[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch", [10, 1000])
def test_sums_over_parts_of_half_precision_lose_nothing(batch, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 60)
    params = {name: torch.zeros(batch, 2, dtype=torch.bfloat16) for name in ("loc", "log_scale")}
    found = compile(catalogue["pathwise"])(params, lambda z: z.sum(-1) * 0.999, samples=600, rowwise=True)
    assert found["loc"].dtype is torch.bfloat16
    assert torch.equal(found["loc"], torch.full_like(params["loc"], 0.999))


def test_a_batch_of_an_odd_size_is_cut_for_several_samples_too(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 120)
    f = Counted()
    compile(catalogue["score-function"])(torch.zeros(999, 3), f, samples=3, rowwise=True)
    assert (f.most, f.points) == (40, 3 * 999)


def test_constants_over_the_batch_are_cut_as_the_batch_is(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 60)
    logits, c = torch.randn(100, 3, dtype=torch.float64), torch.randn(100, dtype=torch.float64)
    compiled = compile(catalogue["constant-baseline"])
    for constant in (c, c[0], 0.25, c[:1]):
        found, whole = (compiled(logits, Counted(), generator=generator(), c=constant, rowwise=how) for how in (True, False))
        torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-12)
    muprop, given = compile(catalogue["muprop"]), {"b_0": logits.sigmoid(), "df_0": logits, "f_0": c}
    found, whole = (muprop(logits, Counted(), generator=generator(), **given, rowwise=how) for how in (True, False))
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-12)


def test_a_formula_that_is_not_about_one_row_is_computed_at_once(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 10)
    f, logits = Counted(), torch.zeros(100, 3)
    compile(catalogue["nvil"])(logits, f, rowwise=True, C=lambda x, psi: x * psi, psi=torch.ones(()), x=torch.ones(100))
    assert f.most == 100


def test_draws_of_two_laws_are_made_for_all_rows_at_once(monkeypatch):
    """Drawn row by row, the second law would get other noise."""
    theta = parameter("theta")
    b, u, f, c = finite("b", theta), uniform("u"), function("f"), function("c")
    mine = Estimator("mine", (f(b) + c(u)) * score(b), draws=(b, u), target=grad(E(f(b), b), theta))
    compiled, logits, given = compile(mine), torch.randn(100, 3, dtype=torch.float64), {"c": lambda u: u.sum(-1)}
    whole = compiled(logits, Counted(), generator=generator(), **given)
    monkeypatch.setattr(chunks, "CHUNK", 60)
    torch.testing.assert_close(compiled(logits, Counted(), generator=generator(), rowwise=True, **given), whole)


def test_every_part_of_a_batch_is_checked(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 60)
    calls = []

    def f(b):
        calls.append(b)
        return b.sum(-1) / (len(calls) != 3)

    compiled = compile(catalogue["score-function"])
    for _ in range(2):
        calls.clear()
        with pytest.raises(UsageError, match="finite real numbers"):
            compiled(torch.zeros(100, 3), f, rowwise=True)


@pytest.mark.parametrize("rowwise", [False, True])
def test_an_estimator_that_compiles_itself_refuses_what_is_not_finite_in_any_part(rowwise, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 60)
    compiled = compile(catalogue["score-function"]).compile(backend="eager", dynamic=False)
    for _ in range(2):
        with pytest.raises(UsageError, match="finite real numbers"):
            compiled(torch.zeros(40, 3), lambda b: b.sum(-1) / b[..., 0], rowwise=rowwise)


def test_the_text_of_a_module_says_nothing_of_what_only_speed_needs():
    for name in ROWWISE:
        assert not re.search("chunk|cache|check", emit(catalogue[name]))
