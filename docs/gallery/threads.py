"""Public threads that argue about a formula of the gallery, and the rows that settle it."""

from __future__ import annotations

THREADS = (
    (
        "huggingface/trl#6789, huggingface/trl#7269",
        "Is the ratio of full-vocabulary log-probabilities to those of a truncated sampler a constant factor, the kept "
        "mass? At one token it "
        "turns the target into the reward of what is kept; over two tokens the factor moves with the prefix. Replayed "
        "masks are right.",
        (
            "token-ratio-of-one-token-under-top-k",
            "token-ratio-under-top-k",
            "sequence-ratio-under-top-k",
            "replayed-mask-under-top-k",
        ),
    ),
    (
        "huggingface/trl#5814",
        "Sum or mean of the log-ratios for a weight of the sequence? The sum is the weight; the mean is another target.",
        ("sequence-weight", "gspo-without-clip"),
    ),
    (
        "huggingface/trl#4967, huggingface/trl#4638, huggingface/trl#6503, OpenRLHF/OpenRLHF#1309, THUDM/slime#1004",
        "Which of k1, k2, k3 has the gradient of the reverse KL, in the loss and in the reward, and what does the ratio "
        "do? For one token the "
        "answers given are right; for a sequence, the corrected terms are token KLs, and the product of the ratios is "
        "what is missing.",
        ("k1-as-loss", "k2-as-loss", "k3-as-loss", "k3-times-ratio", "k3-times-prefix-product", "k1-in-the-reward"),
    ),
    (
        "huggingface/trl#6594",
        "Which ratio belongs on the KL of a token when the policy loss has one of the sequence? The geometric mean is "
        "neither KL.",
        ("k3-times-geometric-ratio", "k3-times-ratio", "k3-times-sequence-ratio"),
    ),
    (
        "verl-project/verl#3915, areal-project/AReaL#1084, NVIDIA-NeMo/RL#1899",
        "What does rejection by a geometric mean ratio estimate? With the weight of the sequence, the reward of what is "
        "accepted; without it, "
        "or with weights of tokens, nothing that has a name. A baseline is not free in either.",
        (
            "geometric-rejection",
            "geometric-rejection-with-token-weights",
            "geometric-rejection-with-weight",
            "masked-weight",
            "truncated-weight",
        ),
    ),
    (
        "sail-sg/understand-r1-zero#10, sail-sg/understand-r1-zero#11, huggingface/trl#3138, verl-project/verl#2776, "
        "NovaSky-AI/SkyRL#133",
        "Mean over tokens, over sequences, over the group, or a constant? Every divisor that is drawn is biased; a "
        "constant is a step size.",
        ("sequence-mean", "token-mean", "constant-divisor", "token-sum"),
    ),
    (
        "huggingface/trl#4988",
        "What does LUSPO change? The length cancels the 1/n of the geometric mean ratio: unbiased on policy.",
        ("length-times-sequence-ratio",),
    ),
    (
        "ml-explore/mlx-lm#1413, verl-project/verl#5625, meta-pytorch/torchtune#1875, PrimeIntellect-ai/prime-rl#583",
        "Is the mean of the token means of micro-batches that of the batch? No; divided by the tokens of the whole batch "
        "it is.",
        ("accumulated-token-means", "accumulated-over-all-tokens"),
    ),
    (
        "rllm-org/rllm#743",
        "Credits for pass@k, centred by their mean: 1 - k/n of the gradient is left, and at k = n nothing.",
        ("best-of-k-credit", "best-of-k-credit-centred", "best-of-all-credit-centred", "best-of-k-credit-less-the-others"),
    ),
    (
        "AI4Finance-Foundation/ElegantRL#4, thu-ml/tianshou#489",
        "The entropy from sampled tokens: the log-probability alone has no gradient on average.",
        ("entropy-of-sampled-tokens", "entropy-of-the-vocabulary", "entropy-with-the-score-of-the-prefix"),
    ),
)
"""By the addresses of the threads: what is asked and what comes out, and the rows."""


def address(thread: str) -> str:
    """A thread as a link; GitHub leads from an issue to a pull request of the same number.

    >>> address("huggingface/trl#6789")
    '[huggingface/trl#6789](https://github.com/huggingface/trl/issues/6789)'
    """
    repository, _, number = thread.partition("#")
    return f"[{thread}](https://github.com/{repository}/issues/{number})"
