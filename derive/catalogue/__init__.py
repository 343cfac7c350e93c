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
from derive.language.shown import Shown

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
    "importance-sampling": "policies.importance_sampling",
    "policy-surrogate": "policies.importance_sampling:policy_surrogate",
    "dice": "derivatives.dice",
    "evolution-strategies": "derivatives.evolution_strategies",
    "evolution-strategies-mirrored": "derivatives.evolution_strategies:mirrored",
    "sticking-the-landing": "inference.bounds:sticking_the_landing",
    "importance-sampling-baseline": "policies.off_policy:baseline",
    "off-policy-without-ratio": "policies.off_policy:unweighted",
    "self-normalised-importance-sampling": "policies.off_policy:self_normalised",
    "truncated-importance-sampling": "policies.off_policy:truncated",
    "clipped-surrogate": "policies.off_policy:clipped",
    "sequence-importance-sampling": "policies.off_policy:sequence",
    "per-decision-importance-sampling": "policies.off_policy:per_decision",
    "token-importance-sampling": "policies.off_policy:token",
    "reinforce-two-steps": "policies.two_steps:reinforce",
    "reward-to-go": "policies.two_steps:reward_to_go",
    "immediate-reward": "policies.two_steps:past_rewards_dropped",
    "state-baseline": "policies.two_steps:state_baseline",
    "action-baseline": "policies.two_steps:action_baseline",
    "actor-critic": "policies.two_steps:actor_critic",
    "actor-critic-exact": "policies.two_steps:exact_critic",
    "all-action": "policies.two_steps:all_actions",
    "generalized-advantage": "policies.two_steps:generalized_advantage",
    "generalized-advantage-one": "policies.two_steps:generalized_advantage_one",
    "grpo": "policies.groups:grpo",
    "dr-grpo": "policies.groups:dr_grpo",
    "remax": "policies.groups:remax",
    "opo": "policies.groups:opo",
    "length-normalised": "policies.groups:length_normalised",
    "vargrad": "policies.groups:vargrad",
    "maxrl": "policies.groups:maxrl",
    "maxrl-for-log": "policies.groups:maxrl_for_log",
    "kl-k1-loss": "policies.penalties:k1_loss",
    "kl-k1-reward": "policies.penalties:k1_reward",
    "kl-k2-loss": "policies.penalties:k2_loss",
    "kl-k3-loss": "policies.penalties:k3_loss",
    "kl-k3-loss-forward": "policies.penalties:k3_loss_forward",
    "kl-k3-with-ratio": "policies.penalties:k3_ratio",
    "kl-k3-reward": "policies.penalties:k3_reward",
    "entropy-sampled": "policies.penalties:entropy_sampled",
    "entropy-bonus": "policies.penalties:entropy_bonus",
    "entropy-of-samples": "policies.penalties:entropy_of_samples",
    "dice-second-order": "derivatives.second_order:dice",
    "surrogate-second-order": "derivatives.second_order:surrogate",
    "hessian-score": "derivatives.second_order:hessian",
    "hessian-score-squared": "derivatives.second_order:square",
    "natural-gradient": "derivatives.second_order:natural",
    "evolution-strategies-forward": "derivatives.differences:forward",
    "evolution-strategies-unsmoothed": "derivatives.differences:unsmoothed",
    "central-difference-common-noise": "derivatives.differences:common",
    "antithetic-pathwise": "derivatives.pairs:antithetic",
    "antithetic-uniform": "derivatives.pairs:antithetic_uniform",
    "stratified-one-stratum": "derivatives.pairs:one_stratum",
    "stratified": "derivatives.pairs:stratified",
    "lax": "inference.bounds:lax",
    "iwae-sticking-the-landing": "inference.bounds:iwae_landing",
    "mixture-score-and-pathwise": "inference.bounds:mixture",
    "mixture-pathwise-only": "inference.bounds:mixture_pathwise",
    "sleep-phase": "inference.wake_sleep:sleep",
    "wake-phase-q": "inference.wake_sleep:wake",
    "wake-phase-exact-evidence": "inference.wake_sleep:wake_exact",
    "trajectory-balance": "inference.trajectory_balance:balance",
    "trajectory-balance-off-policy": "inference.trajectory_balance:off_policy",
    "thermodynamic-exact-evidence": "inference.thermodynamic:exact",
    "thermodynamic-self-normalised": "inference.thermodynamic:self_normalised",
    "local-expectation-gradients": "discrete.sums:local_expectation",
    "rao-blackwell": "discrete.sums:rao_blackwell",
    "markov-blanket": "discrete.sums:own_terms",
    "measure-valued-bernoulli": "discrete.sums:measure_valued",
    "measure-valued-poisson": "derivatives.measure_valued:of_poisson",
    "measure-valued-poisson-backward": "derivatives.measure_valued:backward",
    "measure-valued-exponential": "derivatives.measure_valued:of_exponential",
    "measure-valued-exponential-doubled": "derivatives.measure_valued:doubled",
    "measure-valued-gamma": "derivatives.measure_valued:of_gamma",
    "measure-valued-gamma-unscaled": "derivatives.measure_valued:without_shape",
    "measure-valued-geometric": "derivatives.measure_valued:of_geometric",
    "measure-valued-geometric-single": "derivatives.measure_valued:single",
    "measure-valued-normal-scale": "derivatives.measure_valued:of_normal_scale",
    "measure-valued-normal-scale-stretched": "derivatives.measure_valued:stretched",
    "implicit-exponential": "derivatives.implicit:of_exponential",
    "implicit-exponential-without-sample": "derivatives.implicit:without_sample",
    "reinmax-quadratic": "discrete.slopes:reinmax",
    "straight-through-quadratic": "discrete.slopes:straight_through",
    "straight-through-gumbel": "discrete.slopes:gumbel_slope",
    "gumbel-rao": "discrete.slopes:gumbel_rao",
    "spsa": "discrete.explicit:spsa",
    "spsa-quadratic": "discrete.explicit:spsa_quadratic",
    "measure-valued-categorical": "discrete.explicit:measure_valued",
    "measure-valued-categorical-unweighted": "discrete.explicit:unweighted",
    "disarm": "discrete.explicit:disarm",
    "disarm-unscaled": "discrete.explicit:disarm_unscaled",
    "unordered-set": "discrete.explicit:unordered_set",
    "unordered-set-unweighted": "discrete.explicit:as_if_independent",
    "coefficient-from-same-samples": "discrete.coefficient:same_samples",
    "coefficient-from-other-samples": "discrete.coefficient:other_samples",
}


class Catalogue(Mapping[str, Estimator], Shown):
    """The estimators by name, in the order in which they build on each other."""

    def __str__(self) -> str:
        return Shown.__str__(self)

    def __repr__(self) -> str:
        return f"<the catalogue: {len(self)} estimators>"

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


catalogue: Mapping[str, Estimator] = Catalogue()


def folder_of(name: str) -> str:
    """Return the folder in which the family of an entry stands, "" if it stands alone.

    >>> folder_of("grpo"), folder_of("rebar")
    ('policies', '')
    """
    return _MODULES[name].rpartition(".")[0]
