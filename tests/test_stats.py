import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers.stats import Interval, bootstrap, over_seeds, over_splits, paired

samples = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


def frame(a, b, over="seed"):
    """A tidy frame of two methods, a and b, with one score."""
    names = ["a"] * len(a) + ["b"] * len(b)
    numbers = [*range(len(a)), *range(len(b))]
    return pd.DataFrame({"method": names, over: numbers, "score": [*a, *b]})


def pair(a, b):
    return paired(frame(a, b), "a", "b", "score")


def ends(interval):
    return [interval.value, interval.low, interval.high]


def test_over_seeds_in_closed_form():
    # Mean 2, standard error 1/sqrt(3), and 4.302653 is the 0.975 quantile of t with two
    # degrees of freedom.
    assert np.allclose(
        ends(over_seeds([1, 2, 3])),
        [2, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)],
        atol=1e-6,
    )


@settings(deadline=None)
@given(samples)
def test_over_seeds_agrees_with_scipy(values):
    assume(np.ptp(values) > 1e-3)
    oracle = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert np.allclose(
        ends(over_seeds(values)),
        [np.mean(values), oracle.low, oracle.high],
        rtol=1e-9,
        atol=1e-6,
    )


@settings(deadline=None)
@given(samples, st.floats(-100, 100), st.floats(0.1, 10))
def test_over_seeds_follows_shift_and_scale(values, shift, scale):
    expected = scale * np.array(ends(over_seeds(values))) + shift
    assert np.allclose(
        ends(over_seeds(scale * np.array(values) + shift)),
        expected,
        rtol=1e-7,
        atol=1e-5,
    )


def test_over_seeds_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3, 2, size=(4000, 5))
    covered = sum(
        interval.low < 3 < interval.high for interval in map(over_seeds, draws)
    )
    low, high = scipy.stats.binom.interval(0.999, 4000, 0.95)
    assert low <= covered <= high


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(1).exponential(1, size=(400, 200))
    covered = sum(
        interval.low < 1 < interval.high
        for interval in (bootstrap(draw, seed=0) for draw in draws)
    )
    # Percentile intervals of skewed samples are a little short: 93 % to 95 % at this
    # size.
    assert (
        scipy.stats.binom.ppf(0.0005, 400, 0.93)
        <= covered
        <= scipy.stats.binom.ppf(0.9995, 400, 0.95)
    )


@pytest.mark.parametrize(
    "statistic, error",
    [(np.mean, math.sqrt(1 / 2000)), (np.median, math.sqrt(math.pi / 2 / 2000))],
)
def test_bootstrap_agrees_with_the_analytic_standard_error(statistic, error):
    # Averaged over 40 normal samples, which leaves little of the chance in the ends of
    # one interval.
    intervals = [
        bootstrap(
            np.random.default_rng(sample).normal(size=2000), statistic, seed=sample
        )
        for sample in range(40)
    ]
    half = np.mean([(interval.high - interval.low) / 2 for interval in intervals])
    assert half == pytest.approx(1.96 * error, rel=0.04)


def test_bootstrap_estimates_the_statistic():
    values = np.random.default_rng(2).exponential(size=100)
    for statistic in (np.mean, np.median, np.max):
        assert bootstrap(values, statistic, seed=0).value == statistic(values)


def test_bootstrap_depends_on_its_seed_only():
    values = np.random.default_rng(4).normal(size=50)
    np.random.seed(0)
    first = bootstrap(values, seed=7)
    np.random.seed(1)
    assert bootstrap(values, seed=7) == first != bootstrap(values, seed=8)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=30
    )
)
def test_paired_is_the_interval_of_the_differences(pairs):
    a, b = np.array(pairs).T
    assert pair(a, b) == over_seeds(a - b)
    if np.ptp(a - b) > 1e-3:
        oracle = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
        assert np.allclose(
            ends(pair(a, b))[1:], [oracle.low, oracle.high], rtol=1e-9, atol=1e-6
        )
    forth, back = pair(a, b), pair(b, a)
    assert np.allclose(
        [forth.value, forth.low, forth.high],
        [-back.value, -back.high, -back.low],
        rtol=1e-9,
        atol=1e-6,
    )


def test_pairing_removes_what_both_share():
    random = np.random.default_rng(5)
    shared, better = random.normal(0, 10, 20), random.normal(1, 0.1, 20)
    assert pair(shared + better, shared).low > 0 > over_seeds(shared + better).low


@pytest.mark.parametrize(
    "interval",
    [over_seeds([0.1] * 3), pair([1.1] * 3, [1.0] * 3), bootstrap([0.1] * 3, seed=0)],
    ids=["over_seeds", "paired", "bootstrap"],
)
def test_equal_values(interval):
    assert np.allclose(ends(interval), 0.1) and interval.high - interval.low < 1e-9


@pytest.mark.parametrize(
    "values",
    [[1, 2, 4], (1, 2, 4), np.array([1, 2, 4]), torch.tensor([1.0, 2, 4]), range(1, 3)],
    ids=repr,
)
def test_it_gives_plain_numbers(values):
    for interval in (
        over_seeds(values),
        bootstrap(values, seed=0),
    ):
        assert [type(end) for end in ends(interval)] == [float] * 3
        assert interval.low < interval.value < interval.high


FEW = "hold at least two values in one dimension, got shape "
LARGE = "be finite and at most 1e+150 in size, got "
UNREAL = "hold real numbers, got "


def kind(value):
    """For the names of tests: some of these values take several lines."""
    return type(value).__name__


@pytest.mark.parametrize(
    "values, message",
    [
        ([], FEW + "(0,)"),
        ([1.0], FEW + "(1,)"),
        (3.0, FEW + "()"),
        ([[1.0, 2.0], [3.0, 4.0]], FEW + "(2, 2)"),
        ([1.0, math.nan], LARGE + "nan"),
        ([1.0, -math.inf, 1e151], LARGE + "-inf"),
        ([1e151, 1.0], LARGE + "1e+151"),
        ([-1e308, 1e308], LARGE + "-1e+308"),
        ([1.0, None], UNREAL + "object"),
        (None, UNREAL + "object"),
        ([10**400, 1], UNREAL + "object"),
        ({1.0: 2.0, 3.0: 4.0}, UNREAL + "object"),
        ("12", UNREAL + "<U2"),
        (["1", "2"], UNREAL + "<U1"),
        ([1.0, 2j], UNREAL + "complex128"),
        (torch.tensor([1j, 2j]), UNREAL + "complex128"),
        (np.array(["2026-01-01", "2026-01-02"], "datetime64[D]"), UNREAL + "object"),
        (np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]), UNREAL + "object"),
    ],
    ids=kind,
)
def test_bad_values(values, message):
    for name, function in [
        ("values", over_seeds),
        ("values", lambda v: over_splits(v, test_to_train=1)),
        ("values", lambda v: bootstrap(v, seed=0)),
    ]:
        with pytest.raises(ValueError) as error:
            function(values)
        assert str(error.value) == f"{name} must {message}"


def test_a_list_of_lists_of_unlike_lengths():
    with pytest.raises(ValueError, match="^values must hold real numbers: .*shape"):
        over_seeds([[1.0], [1.0, 2.0]])


def test_large_values_that_still_do():
    interval = over_seeds([-1e150, 1e150])
    assert interval.value == 0 and 1e151 < interval.high < 1.3e151
    assert interval.low == -interval.high


@pytest.mark.parametrize(
    "same",
    [
        torch.tensor([0.0, 1, 1], requires_grad=True),
        torch.tensor([0, 1, 1], dtype=torch.bfloat16),
        np.array([0, 1, 1], np.float16),
        [False, True, True],
        torch.tensor([False, True, True]),
        [torch.tensor(0.0), torch.tensor(1.0), torch.tensor(1.0)],
        np.ma.masked_array([0, 1, 1], False),
    ],
    ids=kind,
)
def test_every_kind_of_real_numbers(same):
    assert over_seeds(same) == over_seeds([0.0, 1.0, 1.0])


# method "a" and "b", seeds 0 to 2, two rates: a knob
RESULTS = pd.DataFrame(
    {
        "method": ["b"] * 6 + ["a"] * 6,
        "rate": [0.1, 0.1, 0.1, 1.0, 1.0, 1.0] * 2,
        "seed": [0, 1, 2] * 4,
        "loss": [1.0, 2, 3, 4, 5, 6, 2, 4, 7, 4, 5, 6],
        "accuracy": np.arange(12.0),
    }
)


def test_over_seeds_of_a_frame():
    one = over_seeds(RESULTS[RESULTS.rate == 0.1])
    assert list(one.index) == ["b", "a"] and list(one.columns) == ["loss", "accuracy"]
    assert one.loss["b"] == over_seeds([1, 2, 3])
    assert one.accuracy["a"] == over_seeds([6, 7, 8])
    both = over_seeds(RESULTS, ["method", "rate"])
    assert both.loss["b", 1.0] == over_seeds([4, 5, 6]) and len(both) == 4
    assert over_seeds(RESULTS.query("method == 'a'"), "rate").loss[0.1] == one.loss["a"]
    assert one.map("{:.1f}".format).accuracy["b"] == "1.0 [-1.5, 3.5]"


def test_over_splits_of_a_frame():
    splits = RESULTS[RESULTS.rate == 0.1].rename(columns={"seed": "split"})
    found = over_splits(splits, test_to_train=0.25)
    assert found.loss["b"] == over_splits([1, 2, 3], test_to_train=0.25)
    gain = paired(splits, "a", "b", "loss", test_to_train=0.25)
    assert gain == over_splits([1, 2, 4], test_to_train=0.25)
    with pytest.raises(ValueError, match="no column 'seed'"):
        paired(splits, "a", "b", "loss")


def test_paired_matches_rows_by_their_seed():
    shuffled = RESULTS[RESULTS.rate == 0.1].sample(frac=1, random_state=0)
    assert paired(shuffled, "a", "b", "loss") == over_seeds([1, 2, 4])
    by_rate = RESULTS[RESULTS.method == "a"]
    gain = paired(by_rate, 1.0, 0.1, "loss", by="rate")
    assert gain == over_seeds([2, 1, -1])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: f, r"\['a'\] must have one row for each seed, .* several for 0: "),
        (lambda f: f[f.rate == 2], "method must be one of , got 'a'"),
        (lambda f: f[f.method == "b"][:3], "method must be one of 'b', got 'a'"),
        (
            lambda f: f[f.rate == 0.1][:5],
            r"'a' and 'b' must have the same seeds: \[2\]",
        ),
        (lambda f: f.drop(columns="loss"), "the frame has no column 'loss', only "),
        (lambda f: f.drop(columns="method"), "the frame has no column 'method', only"),
    ],
)
def test_frames_that_cannot_be_paired(change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        paired(change(RESULTS), "a", "b", "loss")


@pytest.mark.parametrize(
    "change, by, message",
    [
        (
            lambda f: f,
            "method",
            r"\['b'\] must have one row for each seed, and has sev",
        ),
        (lambda f: f, "name", "the frame has no column 'name', only "),
        (lambda f: f.drop(columns="seed"), "method", "the frame has no column 'seed'"),
        (
            lambda f: f[["loss", "method", "rate", "seed"]],
            ["method", "rate"],
            "the frame has no score right of the column 'seed'",
        ),
    ],
)
def test_frames_without_intervals(change, by, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        over_seeds(change(RESULTS), by)


def test_format():
    interval = Interval(2.04, -1.26, 5.34)
    assert f"{interval:+.1f}" == "+2.0 [-1.3, +5.3]"
    assert f"{interval:.0%}" == "204% [-126%, 534%]"
    assert f"{interval}" == "2.04 [-1.26, 5.34]"
    assert str(Interval(2.0444, -1.2, 5000.0)) == "2.04 [-1.2, 5e+03]"
    with pytest.raises(dataclasses.FrozenInstanceError):
        interval.low = 0


def test_within():
    interval = Interval(0.0, -1.0, 1.0)
    assert interval.within(-1.1, 1.1)
    # All of the interval, not its mean, and not an end upon an end.
    assert (
        not interval.within(-1, 2)
        and not interval.within(-2, 1)
        and not interval.within(-0.5, 0.5)
        and not interval.within(2, 3)
    )


def test_over_splits_widens_by_the_overlap():
    values = np.random.default_rng(0).normal(3, 1, 10)
    naive, wider = over_seeds(values), over_splits(values, test_to_train=0.25)
    assert wider.value == naive.value
    assert (wider.high - wider.low) / (naive.high - naive.low) == pytest.approx(
        (1 + 10 * 0.25) ** 0.5
    )
    assert wider.high - wider.value == pytest.approx(wider.value - wider.low)


def test_over_splits_covers_where_the_naive_interval_does_not():
    """Accuracy of a fixed rule on random test parts of one small data set, against its
    accuracy on all data to come.
    """
    random = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        right = random.random(100) < 0.7
        values = [right[random.permutation(100)[:33]].mean() for _ in range(10)]
        intervals = over_seeds(values), over_splits(values, test_to_train=0.5)
        covered.append([interval.low < 0.7 < interval.high for interval in intervals])
    naive, corrected = np.mean(covered, axis=0)
    assert naive < 0.8 < 0.9 < corrected


@pytest.mark.parametrize(
    "ratio", [0, -0.2, math.nan, math.inf, None, "0.25", 1j, [0.25]]
)
def test_over_splits_wants_a_ratio(ratio):
    with pytest.raises(ValueError) as error:
        over_splits([1.0, 2.0], test_to_train=ratio)
    assert str(error.value) == f"test_to_train must be a positive number, got {ratio!r}"


@pytest.mark.parametrize("seed", [None, -1, 0.0, True, "0", [0], math.nan])
def test_bootstrap_wants_a_seed(seed):
    with pytest.raises(ValueError) as error:
        bootstrap([1.0, 2.0], seed=seed)
    assert str(error.value) == f"seed must be an integer of at least 0, got {seed!r}"
    bootstrap([1.0, 2.0], seed=np.int64(0))


def without_axis(values):
    return values.mean()


def over_all(values, axis):
    return values.mean()


def not_finite(values, axis):
    return values.mean(axis) / 0.0


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize(
    "statistic, message",
    [
        (without_axis, r"take \(values, axis=...\), as np.mean does: .+ raises .+axis"),
        ("mean", r"take \(values, axis=...\), as np.mean does: 'mean' raises .+"),
        (
            over_all,
            "reduce the axis it is given to finite numbers: "
            "two rows must give two, .+ gives 1.5",
        ),
        (not_finite, r"reduce the axis it is given to .+ gives \[inf inf\]"),
    ],
)
def test_bootstrap_wants_a_statistic(statistic, message):
    with pytest.raises(ValueError, match=f"^statistic must {message}"):
        bootstrap([1.0, 2.0], statistic, seed=0)


def test_bootstrap_is_the_percentile_method_with_2000_resamples():
    """By hand: the quantiles of the statistic over the resamples that NumPy draws."""
    values = np.random.default_rng(6).exponential(size=30)
    drawn = np.random.default_rng(7).integers(30, size=(2000, 30))
    for statistic in (np.mean, np.median):
        found = bootstrap(values, statistic, seed=7)
        by_hand = np.quantile(statistic(values[drawn], axis=-1), [0.025, 0.975])
        assert np.allclose([found.low, found.high], by_hand, rtol=0, atol=1e-12)


def test_bootstrap_never_holds_more_than_ten_million_values():
    sizes = []

    def mean(values, axis):
        sizes.append(values.size)
        return values.mean(axis)

    values = np.random.default_rng(0).normal(size=20_000)
    bootstrap(values, mean, seed=0)
    assert max(sizes) == 10_000_000


@pytest.mark.parametrize("low, high", [(1, 1), (1, -1), (math.nan, 1)])
def test_within_wants_a_margin(low, high):
    with pytest.raises(
        ValueError, match=f"^low must be below high, got {low} and {high}$"
    ):
        Interval(0.0, -1.0, 1.0).within(low, high)
