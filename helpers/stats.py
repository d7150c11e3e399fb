"""Intervals: how sure we are of a number measured over seeds, images or labels.

An interval covers what varied between its values, and nothing else: say in the text
what that was. `over_seeds` and `paired` take values, or the tidy frame of an experiment
(`helpers.seeds.experiment`): a row per method and seed, a column per score.
"""

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike

from helpers.checks import check_integer

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

    def __str__(self) -> str:
        return f"{self:.3g}"

    def within(self, low: float, high: float) -> bool:
        """True where the whole interval lies strictly between `low` and `high`.

        This is how the book claims "no difference".
        Raises ValueError where `low` is not below `high`.
        """
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        return low < self.low and self.high < high


def over_seeds(values: ArrayLike | pd.DataFrame, by="method"):
    """Student's t interval for the mean of `values`, (S,), one per independent run.

    values: real numbers or booleans in a list, array or tensor; or a tidy frame with a
    column `seed` and, right of it, the scores. Of a frame, the result is a frame too:
    a row for each value of the column `by` (or for each combination, if it lists
    several), in their order, and an Interval for each score.
    Raises ValueError for fewer than two values, a shape other than (S,), values that
    are no real numbers, and values that are not finite or larger than 1e150; and for a
    frame that lacks these columns, or has several rows of one seed: choose one value of
    a knob before (`frame[frame.rate == 0.1]`), or add the knob to `by`.
    """
    if isinstance(values, pd.DataFrame):
        return _by(values, by, "seed", over_seeds)
    values = _sample("values", values)
    mean = float(values.mean())
    # scipy's `ttest_1samp(values, 0).confidence_interval()` gives the same, but warns
    # where all runs agree.
    half = float(
        scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
        * scipy.stats.sem(values)
    )
    return Interval(mean, mean - half, mean + half)


def over_splits(values, by="method", *, test_to_train: float):
    """Interval for the mean of `values`, (S,), one per random split of the same data.

    As `over_seeds`, but wider, because splits overlap; a frame has a column `split`.
    test_to_train: how many test samples there are for each training sample, as in 0.25
    for 20 % and 80 %. The variance of the mean is taken as (1/S + test_to_train) times
    that of the values (Nadeau & Bengio 2003, doi:10.1023/A:1024068626366).
    See the chapter "pos_weight".
    Raises ValueError as `over_seeds`, and for a ratio that is not positive and finite.
    """
    if not (isinstance(test_to_train, numbers.Real) and 0 < test_to_train < np.inf):
        raise ValueError(
            f"test_to_train must be a positive number, got {test_to_train!r}"
        )
    if isinstance(values, pd.DataFrame):
        interval = partial(over_splits, test_to_train=test_to_train)
        return _by(values, by, "split", interval)
    naive = over_seeds(values)
    wider = (1 + len(values) * test_to_train) ** 0.5
    return Interval(
        naive.value,
        naive.value - wider * (naive.value - naive.low),
        naive.value + wider * (naive.high - naive.value),
    )


def paired(frame: pd.DataFrame, a, b, score: str, *, by="method", test_to_train=None):
    """Interval for the mean of a - b in `score`, paired by their seeds.

    frame: tidy, with a column `seed`; `a` and `b` are values of its column `by`.
    Pairing removes what both runs share (the data, the initial weights), so it sees
    smaller differences.
    test_to_train: for splits of one data set, with a column `split`: see `over_splits`.
    Raises ValueError for a column or a value that the frame does not have, for rows
    without a partner, and as `over_seeds`.
    """
    over = "seed" if test_to_train is None else "split"
    _check_columns(frame, [by, over, score])
    rows = {}
    for name in (a, b):
        rows[name] = frame[frame[by] == name]
        if rows[name].empty:
            known = ", ".join(map(repr, frame[by].unique()))
            raise ValueError(f"{by} must be one of {known}, got {name!r}")
        _check_one_each(rows[name], [by], over)
        rows[name] = rows[name].set_index(over)[score]
    if alone := sorted(set(rows[a].index) ^ set(rows[b].index)):
        raise ValueError(f"{a!r} and {b!r} must have the same {over}s: {alone}")
    gain = rows[a] - rows[b]
    if test_to_train is None:
        return over_seeds(gain)
    return over_splits(gain, test_to_train=test_to_train)


def _by(frame, by, over, interval):
    """The intervals of each score in a tidy frame, one row for each `by`."""
    by = [by] if isinstance(by, str) else list(by)
    _check_columns(frame, [*by, over])
    _check_one_each(frame, by, over)
    scores = list(frame.columns)[list(frame.columns).index(over) + 1 :]
    if not scores:
        raise ValueError(f"the frame has no score right of the column {over!r}")
    groups = frame.groupby(by if len(by) > 1 else by[0], sort=False)
    return groups[scores].agg(interval)


def _check_columns(frame, names):
    for name in names:
        if name not in frame:
            raise ValueError(
                f"the frame has no column {name!r}, only {list(frame.columns)}"
            )


def _check_one_each(frame, by, over):
    if (twice := frame.duplicated([*by, over])).any():
        row = frame[twice].iloc[0]
        raise ValueError(
            f"{row[by].tolist()} must have one row for each {over}, and has several "
            f"for {row[over]}: choose one value of each other column, or name it in by"
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
    check_integer("seed", seed)
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
