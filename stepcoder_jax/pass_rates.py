"""Estimates of pass@k, and how far they can be trusted."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000
_RESAMPLES_AT_A_TIME = 500


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Probability that one of k samples passes, estimated without bias from n >= k samples.

    ``1 - C(n - c, k) / C(n, k)``

    Raises:
      ValueError: k > n or c > n.

    Source: Chen et al., Evaluating Large Language Models Trained on Code (arXiv 2107.03374), eq. 1.
    """
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {passed} passed in {samples} samples is not defined")
    if samples - passed < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(samples - passed + 1, samples + 1)))


def bootstrap_interval(values: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean, from problems drawn again with replacement.

    Drawing problems again covers both what differs between problems and what the samples of one
    problem leave open: the spread of the values holds both.

    Args:
      values: one a problem; not empty.
      seed: the interval is a function of it and the values.

    Source: Efron, Bootstrap Methods (Annals of Statistics 7, 1979).
    """
    rng = np.random.default_rng(seed)
    array = np.asarray(values, np.float64)
    count = len(array)
    rounds = RESAMPLES // _RESAMPLES_AT_A_TIME
    means = [
        array[rng.integers(count, size=(_RESAMPLES_AT_A_TIME, count))].mean(axis=1)
        for _ in range(rounds)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)
