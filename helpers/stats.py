"""Intervals: how sure we are of a number that was measured over seeds, images or labels.

An interval covers what varied between its values, and nothing else: say in the text what that was.
"""

from dataclasses import dataclass

import numpy as np
import scipy.stats

CONFIDENCE = 0.95  # of every interval in the book


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its 95 % interval, in the units of the values it came from.

    A format specification applies to all three: f"{interval:+.1f}" gives "+2.0 [+1.2, +2.8]".
    """

    mean: float
    low: float
    high: float

    def __format__(self, spec):
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def within(self, low, high):
        """True where the whole interval lies strictly between `low` and `high`: how the book claims 'no difference'."""
        return low < self.low and self.high < high


def over_seeds(values):
    """Student's t interval for the mean of `values`, one value per independent run, shape (S,).

    Raises ValueError for fewer than two values, a shape other than (S,), or values that are not finite.
    """
    values = _sample("values", values)
    mean = float(values.mean())
    half = float(
        scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
        * scipy.stats.sem(values)
    )
    return Interval(mean, mean - half, mean + half)


def paired(a, b):
    """Student's t interval for the mean of a - b, where a[s] and b[s] come from the same seed, shapes (S,).

    Pairing removes what both runs share (the data, the initial weights), so it sees smaller differences.
    Raises ValueError where the shapes differ, and as `over_seeds`.
    """
    a, b = _sample("a", a), _sample("b", b)
    if a.shape != b.shape:
        raise ValueError(
            f"a and b must have one value each per seed, got shapes {a.shape} and {b.shape}"
        )
    return over_seeds(a - b)


def over_splits(values, *, test_to_train):
    """Interval for the mean of `values`, shape (S,), one per random split of the same data: wider than `over_seeds`, because splits overlap.

    test_to_train: how many test samples there are for each training sample, as in 0.25 for 20 % and 80 %. The variance
    of the mean is taken as (1/S + test_to_train) times that of the values (Nadeau & Bengio 2003, doi:10.1023/A:1024068626366).
    Raises ValueError as `over_seeds`, and for a ratio that is not positive.
    """
    if not test_to_train > 0:
        raise ValueError(f"test_to_train must be positive, got {test_to_train}")
    naive = over_seeds(values)
    wider = (1 + len(values) * test_to_train) ** 0.5
    return Interval(
        naive.mean,
        naive.mean - wider * (naive.mean - naive.low),
        naive.mean + wider * (naive.high - naive.mean),
    )


def bootstrap(values, statistic=np.mean, *, seed):
    """Percentile bootstrap interval (Efron 1979, doi:10.1214/aos/1176344552) for `statistic` of `values`, shape (N,).

    statistic takes (values, axis=...), as NumPy's reductions do. seed: of the 2,000 resamples. For small samples (N below 30 or so)
    the interval is too short: take `over_seeds` for a mean.
    Raises ValueError for fewer than two values, a shape other than (N,), or values that are not finite.
    """
    values = _sample("values", values)
    result = scipy.stats.bootstrap(
        (values,),
        statistic,
        n_resamples=2000,
        confidence_level=CONFIDENCE,
        method="percentile",
        batch=max(1, 10_000_000 // len(values)),
        random_state=np.random.default_rng(seed),  # the batch bounds the memory
    )
    return Interval(
        float(statistic(values, axis=0)), *map(float, result.confidence_interval)
    )


def _sample(name, values):
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"{name} must hold at least two values in one dimension, got shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"{name} must be finite, got {values[~np.isfinite(values)][0]}"
        )
    return values
