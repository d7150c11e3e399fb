"""Intervals: how sure we are of a number measured over seeds, images or labels.

An interval covers what varied between its values, and nothing else: say in the text
what that was. First used in the chapter "One label, several labels, one of several".
"""

import numbers
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

CONFIDENCE = 0.95  # of every interval in the book
LARGEST = 1e150  # in size; the square of anything much larger is infinite


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its 95 % interval, in the units of its values.

    value: what was estimated, such as a mean or a median.
    A format specification applies to all three: f"{interval:+.1f}" gives
    "+2.0 [+1.2, +2.8]".
    """

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def within(self, low: float, high: float) -> bool:
        """True where the whole interval lies strictly between `low` and `high`.

        This is how the book claims "no difference".
        Raises ValueError where `low` is not below `high`.
        """
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        return low < self.low and self.high < high


def over_seeds(values: ArrayLike) -> Interval:
    """Student's t interval for the mean of `values`, (S,), one per independent run.

    values: real numbers or booleans in a list, array or tensor.
    Raises ValueError for fewer than two values, a shape other than (S,), values that
    are no real numbers, and values that are not finite or larger than 1e150.
    """
    values = _sample("values", values)
    mean = float(values.mean())
    # scipy's `ttest_1samp(values, 0).confidence_interval()` gives the same, but warns
    # where all runs agree.
    half = float(
        scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
        * scipy.stats.sem(values)
    )
    return Interval(mean, mean - half, mean + half)


def paired(a: ArrayLike, b: ArrayLike) -> Interval:
    """Student's t interval for the mean of a - b, both (S,), paired by their seeds.

    a[s] and b[s] come from the same seed. Pairing removes what both runs share (the
    data, the initial weights), so it sees smaller differences.
    Raises ValueError where the shapes differ, and as `over_seeds`.
    """
    a, b = _sample("a", a), _sample("b", b)
    if a.shape != b.shape:
        raise ValueError(
            "a and b must have one value each per seed, "
            f"got shapes {a.shape} and {b.shape}"
        )
    return over_seeds(a - b)


def over_splits(values: ArrayLike, *, test_to_train: float) -> Interval:
    """Interval for the mean of `values`, (S,), one per random split of the same data.

    It is wider than `over_seeds`, because splits overlap.
    test_to_train: how many test samples there are for each training sample, as in 0.25
    for 20 % and 80 %. The variance of the mean is taken as (1/S + test_to_train) times
    that of the values (Nadeau & Bengio 2003, doi:10.1023/A:1024068626366).
    See the chapter "Weights for rare labels".
    Raises ValueError as `over_seeds`, and for a ratio that is not positive and finite.
    """
    if not (isinstance(test_to_train, numbers.Real) and 0 < test_to_train < np.inf):
        raise ValueError(
            f"test_to_train must be a positive number, got {test_to_train!r}"
        )
    naive = over_seeds(values)
    wider = (1 + len(values) * test_to_train) ** 0.5
    return Interval(
        naive.value,
        naive.value - wider * (naive.value - naive.low),
        naive.value + wider * (naive.high - naive.value),
    )


def bootstrap(
    values: ArrayLike, statistic: Callable = np.mean, *, seed: int
) -> Interval:
    """Percentile bootstrap interval for `statistic` of `values`, (N,).

    From Efron 1979, doi:10.1214/aos/1176344552.
    statistic: takes (values, axis=...), as NumPy's reductions do.
    seed: of the 2,000 resamples, an integer of at least 0.
    For small samples (N below 30 or so) the interval is too short: take `over_seeds`
    for a mean.
    Raises ValueError as `over_seeds`, for another seed, and for a statistic that does
    not reduce the axis it is given to finite numbers.
    """
    values = _sample("values", values)
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
    try:
        trial = np.asarray(statistic(np.stack([values, values]), axis=-1))
    except TypeError as error:
        raise ValueError(
            "statistic must take (values, axis=...), as np.mean does: "
            f"{statistic!r} raises {error}"
        ) from None
    if trial.shape != (2,) or not np.isfinite(trial).all():
        raise ValueError(
            "statistic must reduce the axis it is given to finite numbers: "
            f"two rows must give two, {statistic!r} gives {trial}"
        )
    result = scipy.stats.bootstrap(
        (values,),
        statistic,
        n_resamples=2000,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        batch=max(1, 10_000_000 // len(values)),  # bounds the memory
        random_state=np.random.default_rng(seed),
    )
    return Interval(
        float(statistic(values, axis=-1)), *map(float, result.confidence_interval)
    )


def _sample(name, values):
    try:
        # Through Python's numbers: tensors of any device and dtype, with or without
        # gradients, and the masked values of an array become None.
        values = np.asarray(values.tolist() if hasattr(values, "tolist") else values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must hold real numbers: {error}") from None
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got {values.dtype}")
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"{name} must hold at least two values in one dimension, "
            f"got shape {values.shape}"
        )
    values = values.astype(float)
    if not (fine := abs(values) <= LARGEST).all():
        raise ValueError(
            f"{name} must be finite and at most {LARGEST:g} in size, "
            f"got {values[~fine][0]}"
        )
    return values
