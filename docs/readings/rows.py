"""The published estimators, row by row, each with the entries of the catalogue that say it; or why there is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One published estimator.

    Args
        title    as the literature calls it
        entries  the entries of the catalogue, the estimator first and then others of the kind and wrong twins
        missing  why there is none, or what is left out
    """

    title: str
    entries: tuple[str, ...]
    missing: str = ""


def _rows(titles: Iterable[tuple[str, str]]) -> list[Row]:
    return [Row(title, tuple(entries.split())) for title, entries in titles]


ROWS: list[Row] = [
    *_rows([
        ("score function", "score-function"),
        ("constant baseline", "constant-baseline"),
        ("control variate with its correction", "control-variate control-variate-without-correction"),
        ("reparameterized gradient", "pathwise sgvb"),
        ("importance sampling", "importance-sampling importance-sampling-baseline off-policy-without-ratio"),
        ("self-normalised importance sampling", "self-normalised-importance-sampling"),
        ("truncated importance sampling", "truncated-importance-sampling"),
        ("importance weights of a sequence", "sequence-importance-sampling"),
        ("importance weights per decision", "per-decision-importance-sampling"),
        ("importance weights of a token", "token-importance-sampling"),
        ("PPO surrogate at the old policy", "policy-surrogate"),
        ("PPO clip", "clipped-surrogate"),
        ("policy gradient of two steps", "reinforce-two-steps immediate-reward"),
        ("reward to go", "reward-to-go"),
        ("state baseline", "state-baseline action-baseline"),
        ("actor-critic with the exact critic", "actor-critic-exact all-action"),
        ("actor-critic with a bootstrapped critic", "actor-critic"),
        ("generalized advantage", "generalized-advantage generalized-advantage-one"),
        ("entropy bonus, sampled", "entropy-sampled entropy-of-samples"),
        ("entropy bonus, in closed form", "entropy-bonus"),
        ("KL penalty k1 as a loss", "kl-k1-loss"),
        ("KL penalty k2 as a loss", "kl-k2-loss"),
        ("KL penalty k3 as a loss", "kl-k3-loss kl-k3-loss-forward"),
        ("KL penalty k1 in the reward", "kl-k1-reward"),
        ("KL penalty k3 in the reward", "kl-k3-reward"),
        ("KL penalty k3 with a ratio", "kl-k3-with-ratio"),
        ("GRPO", "grpo length-normalised"),
        ("Dr. GRPO", "dr-grpo"),
        ("RLOO", "leave-one-out"),
        ("ReMax", "remax"),
        ("OPO", "opo"),
        ("MaxRL", "maxrl maxrl-for-log"),
        ("DiCE", "dice"),
        ("DiCE of the second order", "dice-second-order surrogate-second-order"),
        ("Hessian by scores", "hessian-score hessian-score-squared"),
        ("VarGrad", "vargrad"),
        ("trajectory balance", "trajectory-balance trajectory-balance-off-policy"),
        ("sticking the landing", "sticking-the-landing"),
        ("importance-weighted bound", "iwae"),
        ("importance-weighted bound, sticking the landing", "iwae-sticking-the-landing"),
    ]),
    Row("DReG", (), "[a file of its own](../examples/dreg.py): proved by a derivation that is written by hand, with its twin"),
    *_rows([
        ("NVIL, with its learned baseline", "nvil nvil-baseline"),
        ("VIMCO", "vimco vimco-arithmetic"),
        ("evolution strategies", "evolution-strategies evolution-strategies-unsmoothed"),
        ("evolution strategies, mirrored", "evolution-strategies-mirrored"),
        ("evolution strategies by forward differences", "evolution-strategies-forward central-difference-common-noise"),
        ("SPSA", "spsa spsa-quadratic"),
    ]),
    Row("parameter shift", (), "the notation has no sine"),
    Row(
        "ARM",
        (),
        "by signs of uniform noise it is proved, without variance or crosscheck; by a relaxation its code is crosschecked",
    ),
    *_rows([
        ("DisARM", "disarm disarm-unscaled"),
        ("unordered set", "unordered-set unordered-set-unweighted"),
        ("measure-valued, Bernoulli", "measure-valued-bernoulli"),
        ("measure-valued, categorical", "measure-valued-categorical measure-valued-categorical-unweighted"),
    ]),
    Row("measure-valued, location of a normal law", (), "its constant 1 / sqrt(2 pi) is no rational number"),
    *_rows([
        ("measure-valued, scale of a normal law", "measure-valued-normal-scale measure-valued-normal-scale-stretched"),
        ("measure-valued, Poisson", "measure-valued-poisson measure-valued-poisson-backward"),
        ("measure-valued, Exponential", "measure-valued-exponential measure-valued-exponential-doubled"),
        ("measure-valued, Gamma", "measure-valued-gamma measure-valued-gamma-unscaled"),
        ("measure-valued, Geometric", "measure-valued-geometric measure-valued-geometric-single"),
        ("straight-through", "straight-through straight-through-affine straight-through-quadratic"),
        ("ReinMax", "reinmax-quadratic"),
        ("straight-through Gumbel-softmax", "straight-through-gumbel"),
        ("Gumbel-Rao", "gumbel-rao"),
        ("concrete relaxation", "concrete"),
        ("REBAR", "rebar rebar-variance-eta rebar-variance-lambda"),
        ("RELAX", "relax relax-variance-phi"),
        ("LAX", "lax"),
        ("MuProp", "muprop"),
        ("implicit reparameterization", "implicit-exponential implicit-exponential-without-sample"),
        ("local expectation gradients", "local-expectation-gradients"),
        ("Rao-Blackwell", "rao-blackwell markov-blanket"),
        ("coefficient of a control variate, estimated", "coefficient-from-same-samples coefficient-from-other-samples"),
        ("antithetic pair", "antithetic-pathwise antithetic-uniform"),
        ("strata", "stratified stratified-one-stratum"),
        ("mixture", "mixture-score-and-pathwise mixture-pathwise-only"),
        ("natural gradient", "natural-gradient"),
        ("wake-sleep", "sleep-phase wake-phase-q wake-phase-exact-evidence"),
        ("thermodynamic bound", "thermodynamic-exact-evidence thermodynamic-self-normalised"),
        ("bound by scores", "elbo-score-function"),
    ]),
]  # fmt: skip
