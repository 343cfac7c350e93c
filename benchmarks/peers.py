"""The same gradients by Pyro and Storchastic, as their users write them, for `estimators.py`; none where not installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
import torch.distributions as dist

from benchmarks.by_hand import K, Params, Run, f

BELOW = "below"  # the name of the variable


def pyro_runs(name: str, params: Params) -> dict[str, Run]:
    """Pyro's ELBOs with the model equal to the guide at fixed parameters, plus the factor f: the gradient of E[f(b)]."""
    try:
        import pyro
    except ImportError:
        return {}
    from pyro import distributions as pyro_dist
    from pyro.infer import Trace_ELBO, TraceGraph_ELBO

    parts = list(params.values()) if isinstance(params, Mapping) else [params]
    moving = [part.clone().requires_grad_() for part in parts]

    def law(given: list[torch.Tensor]) -> pyro_dist.Distribution:
        made = pyro_dist.Normal(given[0], given[1].exp()) if len(given) > 1 else pyro_dist.Bernoulli(logits=given[0])
        return made.to_event(1)

    def guide() -> None:
        with pyro.plate("batch", len(parts[0])):
            pyro.sample(BELOW, law(moving))

    def model() -> None:
        with pyro.plate("batch", len(parts[0])):
            pyro.factor("f", f(pyro.sample(BELOW, law(parts))))

    def run(elbo: Trace_ELBO) -> Run:
        def once() -> None:
            for part in moving:
                part.grad = None
            if isinstance(elbo, TraceGraph_ELBO):
                elbo.loss_and_grads(model, guide)
            else:
                elbo.differentiable_loss(model, guide).backward()

        return once

    kinds = {"score-function": (Trace_ELBO, TraceGraph_ELBO), "pathwise": (Trace_ELBO,)}.get(name, ())
    return {f"Pyro {kind.__name__}": run(kind()) for kind in kinds}


def storchastic_runs(name: str, params: Params) -> dict[str, Run]:
    """Storchastic's methods for one variable: sample, add the cost, go backward."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import storch
            from storch.method import REBAR, Reparameterization, ScoreFunction
    except ImportError:
        return {}
    parts = list(params.values()) if isinstance(params, Mapping) else [params]
    moving = [part.clone().requires_grad_() for part in parts]
    methods: dict[str, Callable[[], storch.method.Method]] = {
        "score-function": lambda: ScoreFunction(BELOW),
        "leave-one-out": lambda: ScoreFunction(BELOW, n_samples=K, baseline_factory="batch_average"),
        "rebar": lambda: REBAR(BELOW),
        "pathwise": lambda: Reparameterization(BELOW),
    }
    if name not in methods:
        return {}
    method = methods[name]()

    def law() -> torch.distributions.Distribution:
        given = [storch.denote_independent(part, 0, "batch") for part in moving]
        made = dist.Normal(given[0], given[1].exp()) if len(given) > 1 else dist.Bernoulli(logits=given[0])
        return made if name in ("rebar", "pathwise") else dist.Independent(made, 1)

    def once() -> None:
        for part in moving:
            part.grad = None
        storch.reset()
        storch.add_cost(f(method(law())), "cost")
        storch.backward(update_estimator_params=False)

    return {"Storchastic": once}
