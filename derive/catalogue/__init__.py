"""The catalogue: one file a family of estimators, loaded when it is asked for.

>>> from derive.catalogue import catalogue
>>> catalogue["score-function"].name
'score-function'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module

from derive.language.errors import UsageError
from derive.language.estimator import Estimator

_MODULES = {
    "score-function": "score_function",
    "constant-baseline": "constant_baseline",
    "control-variate": "control_variate",
    "control-variate-without-correction": "control_variate:without_correction",
    "pathwise": "pathwise",
    "rebar": "rebar",
    "leave-one-out": "leave_one_out",
    "elbo-score-function": "elbo",
    "sgvb": "elbo:sgvb",
    "concrete": "concrete",
    "straight-through": "straight_through",
    "straight-through-affine": "straight_through:affine",
    "muprop": "muprop",
    "relax": "relax",
    "rebar-variance-eta": "variance_gradient:rebar_eta",
    "rebar-variance-lambda": "variance_gradient:rebar_lambda",
    "relax-variance-phi": "variance_gradient:relax_phi",
    "iwae": "importance_weighted:iwae",
    "nvil": "nvil",
    "nvil-baseline": "nvil:baseline",
    "vimco": "importance_weighted:vimco_geometric",
    "vimco-arithmetic": "importance_weighted:vimco_arithmetic",
    "importance-sampling": "importance_sampling",
    "policy-surrogate": "importance_sampling:policy_surrogate",
    "dice": "dice",
    "evolution-strategies": "evolution_strategies",
    "evolution-strategies-mirrored": "evolution_strategies:mirrored",
    "sticking-the-landing": "elbo:sticking_the_landing",
}


class _Catalogue(Mapping[str, Estimator]):
    """The estimators by name, in the order in which they build on each other."""

    def __getitem__(self, name: str) -> Estimator:
        if name not in _MODULES:
            near = get_close_matches(name, _MODULES, n=3, cutoff=0.4)
            hint = f"did you mean {', '.join(near)}?" if near else f"the catalogue has {', '.join(_MODULES)}."
            message = f"no estimator is called {name!r}; {hint}"
            raise UsageError(message)
        module, _, attribute = _MODULES[name].partition(":")
        estimator: Estimator = getattr(import_module(f"derive.catalogue.{module}"), attribute or "estimator")
        return estimator

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)

    def __contains__(self, name: object) -> bool:
        return name in _MODULES


catalogue: Mapping[str, Estimator] = _Catalogue()
