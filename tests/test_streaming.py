"""`StreamingScores` against `evaluate_logits`, which has all rows at once."""

import math
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as oracle
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

from helpers import streaming
from helpers.metrics import EQUAL, evaluate_logits
from helpers.streaming import StreamingScores
from test_metrics import by_scikit_learn, case, cases

COUNTS = ["tp", "fp", "fn", "tn", "support"]
UNKNOWN = ["exact_match", "samples_f1"]  # best constant label sets


def streamed(logits, targets, ends=(), **options):
    scores = StreamingScores(logits.shape[1], **options)
    for part in zip(np.split(logits, ends), np.split(targets, ends)):
        scores.update(*part)
    return scores


def simulated(seed, rows, prevalences, spread):
    """Logits that would be right without the noise, (rows, K), and targets."""
    random = np.random.default_rng(seed)
    targets = random.random((rows, len(prevalences))) < prevalences
    noise = random.normal(size=targets.shape) + 2 * targets
    prior = np.log(prevalences / (1 - prevalences))
    return (prior + spread * noise).astype(np.float32), targets


@settings(deadline=None, max_examples=25)
@given(
    cases,
    st.floats(0.05, 0.95),
    st.lists(st.integers(0, 39), max_size=4),
    st.booleans(),
)
def test_agrees_with_evaluate_logits_in_any_batches(case, threshold, ends, single):
    logits, targets = (part.numpy() for part in case)
    if single:
        logits = logits.astype(np.float32)
    ends = sorted({end for end in ends if 0 < end < len(logits)})
    found = streamed(logits, targets, ends, threshold=threshold).compute()
    want = evaluate_logits(logits, targets, threshold=threshold, resamples=0)
    for table in ("scores", "labels"):
        got, exact = getattr(found, table), getattr(want, table)
        same = [name for name in exact if name not in ("model", "ap")]
        if table == "scores":
            exact.loc[UNKNOWN, "constant"] = math.nan
            assert got["model"][:-1].tolist() == pytest.approx(
                exact["model"][:-1].tolist(), abs=1e-12, nan_ok=True
            )
        assert [name for name in got if name in exact] == list(exact)
        pd.testing.assert_frame_equal(got[same], exact[same], rtol=0, atol=1e-12)
    assert found.labels[COUNTS].equals(want.labels[COUNTS])
    ap, found_ap = want.labels["ap"], found.labels
    present = ap.notna()
    assert found_ap["ap"].notna().equals(present)
    assert (found_ap["ap_least"] <= ap + 1e-9)[present].all()
    assert (ap <= found_ap["ap_most"] + 1e-9)[present].all()
    mean = found_ap["ap"].mean()
    assert found.scores["model"]["macro_ap"] == pytest.approx(mean, nan_ok=True)
    # The same digits in one batch, and twice.
    again = streamed(logits, targets, threshold=threshold)
    for _ in range(2):
        for table in ("scores", "labels"):
            got, want = getattr(again.compute(), table), getattr(found, table)
            pd.testing.assert_frame_equal(got, want, check_exact=True)


def test_agrees_with_scikit_learn():
    """The first five scores, where the bins play no part."""
    logits, targets = simulated(1, 400, np.array([0.5, 0.2, 0.05]), 1)
    found = streamed(logits, targets, [100, 399]).compute().scores["model"]
    want = by_scikit_learn(logits, logits >= 0, targets)
    assert found.tolist()[:-1] == pytest.approx(want[:-1], abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_predicts_what_evaluate_predicts_at_thresholds(dtype, seed):
    """Logits at most a few units in the last place from where a label begins."""
    random = np.random.default_rng(seed)
    thresholds = random.choice([1e-12, 0.003, 0.3, 0.5, 0.999, 1 - 1e-9], 6)
    border = logit(thresholds * (1 - EQUAL[np.dtype(dtype).name])).astype(dtype)
    logits = border + random.integers(-3, 4, (40, 6)).astype(dtype) * np.spacing(border)
    logits[::4] += random.normal(size=(10, 6)).astype(dtype)
    targets = random.random(logits.shape) < 0.4
    found = streamed(logits, targets, threshold=thresholds).compute().labels
    want = evaluate_logits(logits, targets, threshold=thresholds, resamples=0).labels
    assert found[COUNTS].equals(want[COUNTS])


def test_the_size_of_the_blocks_does_not_matter(monkeypatch):
    logits, targets = simulated(2, 300, np.array([0.5, 0.2, 0.05]), 3)
    whole = streamed(logits, targets).compute()
    monkeypatch.setattr(streaming, "CELLS", 20)
    pd.testing.assert_frame_equal(
        streamed(logits, targets, [7]).compute().labels,
        whole.labels,
        check_exact=True,
    )


RARE = np.array([0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0005])


@pytest.mark.parametrize("spread", [1, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_average_precision_is_as_near_as_stated(seed, spread):
    logits, targets = simulated(seed, 100_000, RARE, spread)
    labels = streamed(logits, targets).compute().labels
    columns = list(zip(targets.T, logits.T))
    ap = [oracle.average_precision_score(*column) for column in columns]
    auc = [oracle.roc_auc_score(*column) for column in columns]
    assert labels["ap"].tolist() == pytest.approx(ap, abs=0.005, rel=0)
    assert labels["auc"].tolist() == pytest.approx(auc, abs=0.001, rel=0)
    assert (labels["ap_least"] <= ap).all() and (ap <= labels["ap_most"]).all()
    assert (labels["ap_most"] - labels["ap_least"]).max() < 0.02
    # Few bins are worse, and their bounds say so.
    few = streamed(logits, targets, bins=32).compute().labels
    assert (few["ap_least"] <= ap).all() and (ap <= few["ap_most"]).all()
    assert abs(few["ap"] - ap).max() > 10 * abs(labels["ap"] - ap).max()


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_average_precision_is_that_of_a_random_order_in_each_bin(rate):
    """Against 500 orders, and the bounds against the two extreme ones."""
    random = np.random.default_rng(0)
    place = random.integers(0, 4, 500)
    targets = random.random(500) < rate * (1 + place) / 4
    logits = (16.0 * place - 24)[:, None]
    found = streamed(logits, targets[:, None], bins=4).compute().labels.loc[0]

    def ap(order):
        """With `order` between 0 and 1 inside the bins."""
        return oracle.average_precision_score(targets, place + 0.9 * order)

    mean = np.mean([ap(random.random(500)) for _ in range(500)])
    assert found["ap"] == pytest.approx(mean, abs=0.005)
    last = np.where(targets, random.random(500), 1)
    assert found["ap_least"] == pytest.approx(ap(last), abs=1e-9)
    assert found["ap_most"] == pytest.approx(ap(targets), abs=1e-9)
    assert found["auc"] == pytest.approx(oracle.roc_auc_score(targets, place))


def test_logits_beyond_the_bins_share_one():
    """Far out no order is left, and the bounds say so."""
    logits = np.array([[900.0], [40.0], [-1e30], [-50.0], [31.9]])
    targets = np.array([[1], [0], [0], [1], [1]])
    found = streamed(logits, targets).compute().labels.loc[0]
    within = np.array([[32.0], [32.0], [-32.0], [-32.0], [31.9]])
    same = streamed(within, targets).compute().labels.loc[0]
    assert found.equals(same)
    assert found["ap_least"] == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)
    assert found["ap_most"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert found["auc"] == (0.5 + 1 + 0 + 0.5 + 0 + 1) / 6


@pytest.mark.parametrize("rate", [0, 1])
def test_labels_of_one_class(rate):
    logits, _ = case(0, 9, 2, 1)
    targets = np.full((9, 2), rate)
    found = streamed(logits.numpy(), targets).compute()
    want = evaluate_logits(logits, targets, resamples=0)
    assert found.labels["auc"].isna().all()
    columns = ["model", "nothing", "left_out"]
    pd.testing.assert_frame_equal(found.scores[columns], want.scores[columns])


def test_names_and_columns():
    logits, targets = simulated(3, 50, np.array([0.5, 0.2]), 1)
    found = streamed(logits, targets, names=["cat", "dog"]).compute()
    assert found.labels.index.tolist() == ["cat", "dog"]
    assert list(found.labels) == [
        *("tp", "fp", "fn", "tn", "support", "prevalence", "precision", "recall"),
        *("f1", "ap", "ap_least", "ap_most", "auc"),
    ]
    assert list(found.scores) == ["model", "nothing", "constant", "left_out"]
    assert found.scores.dtypes.tolist() == [np.float64] * 3 + [np.int64]


def test_memory_does_not_grow_with_rows():
    logits, targets = simulated(4, 1000, np.full(5, 0.2), 1)
    scores = StreamingScores(5, bins=100)
    sizes = set()
    for _ in range(3):
        scores.update(logits, targets)
        sizes.add(len(pickle.dumps(scores)))
    assert len(sizes) == 1 and sizes.pop() < 8 * 5 * 100 + 3000
    assert scores.compute().labels["support"].sum() == 3 * targets.sum()


GOOD = np.zeros((4, 3)), np.eye(4, 3)


@pytest.mark.parametrize(
    "logits, targets, message",
    [
        (GOOD[0] + math.nan, GOOD[1], "logits must be finite, got values from nan"),
        (GOOD[0].astype(int), GOOD[1], "logits must be a tensor or NumPy array of "),
        (GOOD[0][:0], GOOD[1][:0], "logits must have shape (N, K) with at least one "),
        (GOOD[0].tolist(), GOOD[1], "logits must be a tensor or NumPy array of "),
        (GOOD[0], GOOD[1] - 1, "targets must be a tensor or NumPy array of 0 and 1"),
        (GOOD[0], GOOD[1][:, :2], "targets must be a tensor or NumPy array of 0 and 1"),
        (GOOD[0], torch.eye(4).bool(), "targets must be a tensor or NumPy array of 0"),
        (
            GOOD[0][:, :2],
            GOOD[1][:, :2],
            "logits must have 3 columns of float64, got 2 of float64",
        ),
        (
            GOOD[0].astype(np.float32),
            GOOD[1],
            "logits must have 3 columns of float64, got 3 of float32",
        ),
    ],
)
def test_a_bad_block_is_not_counted(logits, targets, message):
    scores = StreamingScores(3)
    scores.update(*GOOD)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        scores.update(logits, targets)
    assert scores.compute().labels["support"].tolist() == [1, 1, 1]
    assert scores.compute().labels["prevalence"].tolist() == [0.25] * 3


def test_a_bad_first_block_says_nothing_of_the_next():
    scores = StreamingScores(3)
    with pytest.raises(ValueError, match="columns of float64, got 2 of"):
        scores.update(GOOD[0][:, :2], GOOD[1][:, :2])
    scores.update(GOOD[0].astype(np.float32), GOOD[1])
    assert scores.compute().labels["support"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"labels": 0}, "labels must be an integer of at least 1, got 0"),
        ({"labels": 2.0}, "labels must be an integer of at least 1, got 2.0"),
        ({"bins": 1}, "bins must be an integer of at least 2, got 1"),
        ({"bins": True}, "bins must be an integer of at least 2, got True"),
        ({"threshold": 1}, "threshold must be strictly between 0 and 1, got 1"),
        ({"threshold": [0.5]}, "threshold must be one number or one for each of the 3"),
        ({"names": ["a", "b", "a"]}, "names must be 3 different names"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        StreamingScores(**{"labels": 3} | options)


def test_no_rows_or_too_many_are_refused():
    scores = StreamingScores(3)
    with pytest.raises(ValueError, match="^update must have seen 1 to .* rows, got 0$"):
        scores.compute()
    scores.update(*GOOD)
    scores.rows[0] = 2**31
    with pytest.raises(ValueError, match="rows, got 2147483648$"):
        scores.compute()
