import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from dacaf_mlc.probability_classifier_chains import InferenceStats, bop_fmeasure
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.risk_control import MultiLabelClassificationController
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import fbeta_score, precision_recall_curve
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from helpers.decide import (
    FALSE_ALARM,
    FEW,
    LUCK,
    advise,
    best_thresholds,
    expected_f_sets,
    expected_f_sets_of_joint,
    f_at,
    f_beta,
    neg_per_pos,
    recall_threshold,
    threshold_of_weight,
    tuned_f,
    weight_of_f,
)

BETAS = [0.5, 1, 2]


def case(seed, n, k, rate, dtype=torch.float64):
    """Scores with many ties; targets with labels that are never or always true."""
    random = np.random.default_rng(seed)
    scores = random.integers(-6, 7, (n, k)) / 2
    targets = random.random((n, k)) < 2 * rate * random.random(k)
    return torch.from_numpy(scores).to(dtype), torch.from_numpy(targets)


cases = st.builds(
    case,
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(1, 5),
    st.floats(0, 1),
    st.sampled_from([torch.float32, torch.float64]),
)
betas = st.sampled_from(BETAS)


def by_brute_force(scores, true, beta):
    """In fractions, over every score as threshold; of the best ones the lowest."""
    squared, best = Fraction(beta) ** 2, (Fraction(-1), None)
    for threshold in sorted(set(scores.tolist()), reverse=True):
        predicted = scores >= threshold
        tp, count = int((predicted & true).sum()), int(predicted.sum())
        best = max(
            best, ((1 + squared) * tp / (squared * int(true.sum()) + count), -threshold)
        )
    return -best[1], float(best[0])


def by_scikit_learn(scores, true, beta):
    """From the precision-recall curve, whose counts are whole once they are rounded."""
    precision, recall, thresholds = precision_recall_curve(true, scores)
    tp = np.rint(recall[:-1] * true.sum())
    predicted = np.rint(tp / np.where(tp > 0, precision[:-1], 1))
    f = (1 + beta**2) * tp / (beta**2 * true.sum() + predicted)
    return float(thresholds[np.argmax(f)]), float(f.max())


@settings(deadline=None, max_examples=150)
@given(cases, betas)
def test_best_thresholds_are_those_of_every_threshold_tried(case, beta):
    thresholds, f = best_thresholds(*case, beta)
    assert (
        thresholds.dtype == f.dtype == torch.float64
        and thresholds.shape == f.shape == (case[0].shape[1],)
    )
    for k, (scores, true) in enumerate(zip(*(part.T.numpy() for part in case))):
        if true.any():
            assert (
                (thresholds[k].item(), f[k].item())
                == by_brute_force(scores, true, beta)
                == by_scikit_learn(scores, true, beta)
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", BETAS)
def test_best_thresholds_of_many_rows_and_labels(beta, dtype):
    """Scores with few ties, and rounded ones with many."""
    random = torch.Generator().manual_seed(0)
    targets = torch.rand(1000, 70, generator=random) < torch.linspace(0.01, 0.9, 70)
    scores = (torch.randn(1000, 70, generator=random, dtype=dtype) + targets).to(dtype)
    scores[:, ::2] = (10 * scores[:, ::2]).round() / 10
    thresholds, f = best_thresholds(scores, targets, beta)
    wanted = [
        by_scikit_learn(*columns, beta)
        for columns in zip(scores.T.numpy(), targets.T.numpy())
    ]
    assert list(zip(thresholds.tolist(), f.tolist())) == wanted


def test_f_is_that_of_the_predictions():
    scores, targets = case(3, 200, 6, 0.4)
    for beta in BETAS:
        thresholds, f = best_thresholds(scores, targets, beta)
        assert f.numpy() == pytest.approx(
            fbeta_score(targets, scores >= thresholds, beta=beta, average=None),
            abs=1e-12,
        )


@settings(deadline=None, max_examples=60)
@given(
    cases,
    betas,
    st.sampled_from([lambda x: 3 * x + 1, lambda x: x**3, torch.exp, torch.sigmoid]),
)
def test_thresholds_move_along_with_the_scores(case, beta, increasing):
    scores, targets = case[0].double(), case[1]
    thresholds, f = best_thresholds(scores, targets, beta)
    moved, same = best_thresholds(increasing(scores), targets, beta)
    assert torch.equal(same, f) and torch.equal(
        moved[f > 0], increasing(thresholds[f > 0])
    )


@settings(deadline=None, max_examples=60)
@given(cases, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(case, random):
    order = random.sample(range(len(case[0])), len(case[0]))
    for one, other in zip(
        best_thresholds(*case), best_thresholds(case[0][order], case[1][order])
    ):
        assert torch.equal(one, other)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_float32_scores_are_compared_as_they_are(seed):
    random = torch.Generator().manual_seed(seed)
    scores, targets = (
        torch.rand(50, 4, generator=random),
        torch.rand(50, 4, generator=random) < 0.5,
    )
    thresholds, f = best_thresholds(scores, targets)
    assert torch.equal(
        torch.stack(best_thresholds(scores.double(), targets)),
        torch.stack([thresholds, f]),
    )
    assert torch.equal(scores >= thresholds, scores >= thresholds.float())


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
        ),
    ],
)
@pytest.mark.parametrize(
    "dtype",
    [
        torch.bool,
        torch.uint8,
        torch.int64,
        torch.bfloat16,
        torch.float32,
        torch.float64,
    ],
)
def test_targets_of_any_dtype_scores_with_gradients_and_strides(dtype, device):
    scores, targets = case(1, 40, 5, 0.5)
    wanted = torch.stack(best_thresholds(scores, targets))
    strided = scores.T.contiguous().T.to(device).requires_grad_()
    assert torch.equal(
        torch.stack(best_thresholds(strided, targets.to(device, dtype))), wanted
    )
    assert torch.equal(
        neg_per_pos(targets.to(device, dtype)).cpu(), neg_per_pos(targets)
    )
    table = advise(strided.sigmoid(), targets.to(device, dtype))
    pd.testing.assert_frame_equal(table, advise(scores.sigmoid(), targets))


def test_inputs_are_not_changed():
    scores, targets = case(2, 40, 5, 0.5)
    scores = scores.sigmoid()
    kept = scores.clone(), targets.clone()
    best_thresholds(scores, targets), advise(scores, targets), neg_per_pos(targets)
    weights = torch.tensor([2.0, 0.5])
    threshold_of_weight(weights), weight_of_f(weights / 2)
    assert (
        torch.equal(scores, kept[0])
        and torch.equal(targets, kept[1])
        and weights.tolist() == [2.0, 0.5]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", BETAS)
def test_labels_without_positives_or_negatives(dtype, beta):
    scores = torch.tensor([[0.1, 0.2], [1.0, 0.7], [0.3, 0.9]], dtype=dtype)
    thresholds, f = best_thresholds(
        scores, torch.tensor([[0, 1], [0, 1], [0, 1]]), beta
    )
    assert f.tolist() == [0, 1] and thresholds[1] == scores[0, 1]
    assert (
        thresholds[0]
        == torch.nextafter(scores[1, 0], torch.tensor(math.inf, dtype=dtype))
        and thresholds.isfinite().all()
    )
    for known in (thresholds, thresholds.to(dtype)):
        assert (scores >= known).tolist() == [[False, True]] * 3


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(0, 10**6))
def test_neg_per_pos_is_the_ratio_of_balanced_class_weights(n, seed):
    random = np.random.default_rng(seed)
    targets = random.permuted(
        np.arange(n)[:, None] < random.integers(1, n, 3), axis=0
    )  # none is empty or full
    weights = [
        compute_class_weight("balanced", classes=np.array([False, True]), y=column)
        for column in targets.T
    ]
    got = neg_per_pos(torch.from_numpy(targets))
    assert got.dtype == torch.float64 and got.numpy() == pytest.approx(
        [positive / negative for negative, positive in weights], rel=1e-12
    )


def test_neg_per_pos_names_the_labels_without_either():
    targets = torch.tensor([[0, 1, 0, 1, 0], [0, 0, 0, 1, 1]])
    assert neg_per_pos(targets[:, [1, 4]]).tolist() == [1, 1]
    with pytest.raises(
        ValueError,
        match="^targets must have positives and negatives of every label, "
        "got no positives of 0, 2: the weight would be infinite$",
    ):
        neg_per_pos(targets)
    with pytest.raises(
        ValueError, match="got no negatives of 2: the weight would be 0$"
    ):
        neg_per_pos(targets[:, [1, 4, 3]])


# A table of 5 inputs: how often each occurs, and how often it is positive. A model with
# a logit for each finds the exact minimiser.
ROWS, POSITIVES = (
    torch.tensor([40, 200, 150, 90, 60]),
    torch.tensor([1, 20, 45, 60, 57]),
)
INPUT = torch.arange(5).repeat_interleave(ROWS)
LABEL = (
    torch.arange(len(INPUT)) - (ROWS.cumsum(0) - ROWS)[INPUT] < POSITIVES[INPUT]
).double()
PLAIN = torch.logit(POSITIVES / ROWS.double())


def fitted(inputs, weight):
    """The parameters that minimise the weighted loss, by LBFGS."""
    parameters = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [parameters],
        max_iter=500,
        tolerance_grad=1e-10,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def loss():
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(
            inputs @ parameters,
            LABEL,
            pos_weight=torch.tensor(weight, dtype=torch.float64),
        )
        value.backward()
        return value

    optimizer.step(loss)
    return parameters.detach()


@pytest.mark.parametrize("weight", [0.2, 1.0, 3.0, 12.5])
def test_the_weighted_minimiser_is_shifted_by_the_logarithm_of_the_weight(weight):
    logits = fitted(F.one_hot(INPUT).double(), weight)
    assert logits.numpy() == pytest.approx((PLAIN + math.log(weight)).numpy(), abs=1e-5)
    # With the weight and threshold 0.5, or without and threshold 1 / (1 + weight).
    assert torch.equal(
        logits.sigmoid() > 0.5, PLAIN.sigmoid() > threshold_of_weight(weight)
    )


@pytest.mark.parametrize("weight", [0.2, 3.0, 12.5])
def test_scikit_learn_fits_the_same_with_class_weight(weight):
    """A model that cannot be exact: two features for the five inputs, and a bias."""
    features = torch.stack([INPUT.double() - 2, (INPUT == 1).double()], 1)
    got = fitted(torch.cat([features, torch.ones(len(INPUT), 1)], 1), weight)
    oracle = LogisticRegression(
        C=np.inf, class_weight={0: 1, 1: weight}, tol=1e-10, max_iter=10_000
    ).fit(features, LABEL)
    assert got.numpy() == pytest.approx(
        [*oracle.coef_[0], *oracle.intercept_], abs=1e-4
    )


@settings(deadline=None)
@given(st.floats(-8, 8), st.floats(0.01, 100))
def test_that_threshold_is_a_shift_of_the_logit(logit, weight):
    shifted = logit + math.log(weight)
    if abs(shifted) > 1e-9:
        assert (1 / (1 + math.exp(-logit)) >= threshold_of_weight(weight)) == (
            shifted >= 0
        )


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("a, b", [(0.3, 6), (2, 5), (2, 2)])
def test_the_weight_of_f_is_the_best_of_all_weights(a, b, beta):
    """Calibrated probabilities, Beta distributed: F of any weight in closed form."""

    def f_of(weight):
        threshold = 1 / (1 + weight)
        tp = (
            scipy.stats.beta.sf(threshold, a + 1, b) * a / (a + b)
        )  # E[p; p >= threshold]
        return (
            (1 + beta**2)
            * tp
            / (beta**2 * a / (a + b) + scipy.stats.beta.sf(threshold, a, b))
        )

    weights = np.geomspace(0.2, 200, 20_001)
    f = f_of(weights)
    assert weight_of_f(f.max(), beta) == pytest.approx(weights[f.argmax()], rel=0.01)
    assert threshold_of_weight(weight_of_f(f.max(), beta)) == pytest.approx(
        f.max() / (1 + beta**2), rel=1e-12
    )
    assert f_of(weight_of_f(f.max(), beta)) == pytest.approx(f.max(), abs=1e-7)


def test_weights_and_thresholds_of_floats_and_tensors():
    assert (
        threshold_of_weight(1) == 0.5
        and threshold_of_weight(49.0) == 0.02
        and weight_of_f(0.4) == 4.0
        and weight_of_f(1) == 1
        and weight_of_f(0.5, beta=2) == 9
    )
    assert type(weight_of_f(0.4)) is float
    weights = weight_of_f(torch.tensor([0.4, 1.0], dtype=torch.float64))
    assert (
        weights.tolist() == [4, 1]
        and threshold_of_weight(weights).tolist() == [0.2, 0.5]
        and weights.dtype == torch.float64
    )


COLUMNS = [
    "positives",
    "prevalence",
    "neg_per_pos",
    "f_at_half",
    "best_threshold",
    "best_f",
    "threshold",
    "weight",
    "advice",
]


@settings(deadline=None, max_examples=60)
@given(cases, st.sampled_from([*BETAS, 0.3]))
def test_the_columns_of_advise(case, beta):
    probabilities, targets = case[0].sigmoid(), case[1]
    table = advise(probabilities, targets, beta=beta)
    assert list(table.columns) == COLUMNS and table.index.name == "label"
    assert table.index.tolist() == list(range(targets.shape[1]))
    numbers = table.drop(columns="advice")
    assert np.isfinite(numbers.to_numpy(float)).all()
    assert table["positives"].dtype == np.int64
    assert (numbers.drop(columns="positives").dtypes == np.float64).all()
    best, f = best_thresholds(probabilities, targets, beta)
    assert table["best_threshold"].tolist() == best.tolist()
    assert table["best_f"].tolist() == f.tolist()
    assert table["positives"].tolist() == targets.sum(0).tolist()
    assert table["prevalence"].tolist() == targets.double().mean(0).tolist()
    half = f_at(probabilities, targets, 0.5, beta)
    assert table["f_at_half"].tolist() == half.tolist()
    for row in table.itertuples():
        assert row.weight == (weight_of_f(row.best_f, beta) if row.positives else 1)
        assert row.neg_per_pos == (len(targets) - row.positives) / max(row.positives, 1)
        assert re.match("no |only |0.5 is fine|keep 0.5|threshold ", row.advice)
        advised = row.best_threshold if row.advice.startswith("threshold") else 0.5
        assert row.threshold == advised


@settings(deadline=None, max_examples=30)
@given(cases, betas)
def test_advise_for_micro_is_that_of_all_cells_as_one_label(case, beta):
    probabilities, targets = case[0].sigmoid(), case[1]
    table = advise(probabilities, targets, beta=beta, average="micro")
    one = advise(probabilities.reshape(-1, 1), targets.reshape(-1, 1), beta=beta)
    same = ["f_at_half", "best_threshold", "best_f", "threshold", "weight"]
    for column in same:
        assert set(table[column]) == set(one[column])
    of_labels = advise(probabilities, targets, beta=beta)
    for column in ["positives", "prevalence", "neg_per_pos"]:
        assert table[column].tolist() == of_labels[column].tolist()


def test_the_sentences_for_micro():
    targets, high = torch.eye(2).repeat(4, 1), torch.tensor([0.4, 0.45])
    sentence = "threshold 0.4 instead of 0.5 (micro-F1 0.00 -> 1.00)"
    table = advise(targets * high + 0.3 * (1 - targets), targets, average="micro")
    assert table["advice"].tolist() == [sentence] * 2
    assert table["threshold"].tolist() == pytest.approx([0.4] * 2)
    # A label that is always true has neither an advice of its own nor an error.
    targets[:, 0] = 1
    table = advise(0.3 + 0.1 * targets, targets, average="micro")
    assert table["threshold"].nunique() == 1 and table["threshold"][0] > 0.39


def two_groups(n, positives, high, low):
    """Probabilities and targets (n, 1): the positives get `high`, the others `low`."""
    targets = (torch.arange(n) < positives).double()[:, None]
    return targets * high + (1 - targets) * low, targets


UNCALIBRATED = "; the probabilities look uncalibrated: they "


@pytest.mark.parametrize(
    "given, sentence",
    [
        (two_groups(100, 0, 0.9, 0.1), "no positives here: nothing can be tuned"),
        (two_groups(100, 100, 0.4, 0.1), "no negatives here: nothing can be tuned"),
        (
            two_groups(100, 1, 0.4, 0.01),
            "only 1 positive: keep 0.5, a threshold tuned on so few is noise",
        ),
        (
            two_groups(100, 4, 0.4, 0.01),
            "only 4 positives: keep 0.5, a threshold tuned on so few is noise",
        ),
        (
            two_groups(100, 5, 0.45, 0.1),
            "threshold 0.45 instead of 0.5 (F1 0.00 -> 1.00)"
            + UNCALIBRATED
            + "are not extreme enough",
        ),
        (two_groups(100, 30, 0.9, 0.04), "0.5 is fine (F1 1.00, at best 1.00)"),
        # The sum is that of the positives, and yet the logits are too close together.
        (
            two_groups(1000, 100, 0.45, 0.06),
            "threshold 0.45 instead of 0.5 (F1 0.00 -> 1.00)"
            + UNCALIBRATED
            + "are not extreme enough",
        ),
        (
            two_groups(1000, 100, 0.9, 0.4),
            "0.5 is fine (F1 1.00, at best 1.00)"
            + UNCALIBRATED
            + "sum to 450 for 100 positives",
        ),
    ],
)
def test_sentences(given, sentence):
    table = advise(*given)
    assert table["advice"].tolist() == [sentence]
    changed = sentence.startswith("threshold")
    assert table["threshold"][0] == (given[0][0].item() if changed else 0.5)


def test_probabilities_of_0_and_1():
    """Right ones are calibrated, one wrong one is not; constant ones have no slope."""
    targets = (torch.arange(100) < 20).double()[:, None]
    right = "0.5 is fine (F1 1.00, at best 1.00)"
    assert advise(targets, targets)["advice"].tolist() == [right]
    for wrong in (0, 50):
        probabilities = targets.clone()
        probabilities[wrong] = 1 - targets[wrong]
        assert "uncalibrated" in advise(probabilities, targets)["advice"][0]
    constant = torch.full_like(targets, 0.2)
    assert "uncalibrated" not in advise(constant, targets)["advice"][0]
    assert advise(constant + 0.2, targets)["advice"][0].endswith(
        UNCALIBRATED + "sum to 40 for 20 positives"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_too_extreme(dtype):
    probabilities, targets = calibrated(5000, 1, -1)
    twice = (2 * probabilities.logit() + 0.25).sigmoid().to(dtype)
    assert abs(twice.sum() / targets.sum() - 1) < 0.05
    advice = advise(twice, targets)["advice"][0]
    assert advice.endswith(UNCALIBRATED + "are too extreme")


def by_likelihood(probabilities, true):
    """The likelihood ratio of logistic recalibration: chi-squared with two degrees."""
    logits = torch.logit(probabilities)[:, None].numpy()
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits, true)
    new, old = torch.from_numpy(fit.predict_proba(logits)[:, 1]), probabilities
    losses = [
        F.binary_cross_entropy(p, true.double(), reduction="sum") for p in (old, new)
    ]
    return 2 * (losses[0] - losses[1]).item()


def test_the_verdict_is_that_of_the_likelihood_ratio():
    """Both are the same for many rows; of 60 labels, all but a few."""
    probabilities, targets = calibrated(4000, 60, -2)
    slopes = torch.linspace(0.8, 1.25, 60, dtype=torch.float64)
    probabilities = (slopes * (probabilities.logit() + 2) - 2).sigmoid()
    said = advise(probabilities, targets)["advice"].str.contains("uncalibrated")
    ratio = [by_likelihood(*label) for label in zip(probabilities.T, targets.T)]
    found = scipy.stats.chi2.sf(ratio, 2) < 0.01
    assert FALSE_ALARM == 0.01 and 15 < said.sum() < 45 and (said == found).mean() > 0.9


@pytest.mark.parametrize("beta", BETAS)
def test_a_gain_that_may_be_luck(beta):
    """Three times the luck is asked for, with more for beta < 1 and fewer positives."""
    assert (LUCK, FEW) == (0.2, 5)
    limit = 0.6 * math.sqrt((1 + beta**2) / (2 * beta**2) / 100)
    for below in range(1, 60):
        probabilities, targets = two_groups(1000, 100, 0.9, 0.01)
        probabilities[:below] = 0.45
        row = advise(probabilities, targets, beta=beta).iloc[0]
        gain = row.best_f - row.f_at_half
        assert row.best_f == 1 and (row.threshold == 0.45) == (gain > limit)
        start = "0.5 is fine (" if gain <= 0.01 else "keep 0.5 ("
        start = "threshold 0.45 instead of 0.5 (" if gain > limit else start
        assert row.advice.startswith(start)
        luck = ": with 100 positives that may be luck)"
        assert (luck in row.advice) == start.startswith("keep")
    assert gain > limit


def test_a_gain_that_is_certain_but_small():
    probabilities, targets = two_groups(200_000, 100_000, 0.99, 0.04)
    probabilities[:1800] = 0.45
    row = advise(probabilities, targets).iloc[0]
    assert 0.009 < row.best_f - row.f_at_half < 0.01 and row.threshold == 0.5
    probabilities[:2200] = 0.45
    row = advise(probabilities, targets).iloc[0]
    assert 0.01 < row.best_f - row.f_at_half < 0.012 and row.threshold == 0.45


def calibrated(n, k, centre, seed=0):
    random = torch.Generator().manual_seed(seed)
    probabilities = (
        2 * torch.randn(n, k, generator=random, dtype=torch.float64) + centre
    ).sigmoid()
    drawn = torch.rand(n, k, generator=random, dtype=torch.float64)
    return probabilities, drawn < probabilities


@pytest.mark.parametrize("beta", BETAS)
def test_the_sentence_that_suggests_a_threshold(beta):
    row = advise(*calibrated(20_000, 1, -4), beta=beta).iloc[0]
    assert row.advice == (
        f"threshold {row.best_threshold:.2g} instead of 0.5 "
        f"(F{beta} {row.f_at_half:.2f} -> {row.best_f:.2f}); "
        f"neg/pos = {row.neg_per_pos:.3g} would make it {row.prevalence:.2g}"
    )
    assert row.best_threshold == pytest.approx(row.best_f / (1 + beta**2), rel=0.2)


@pytest.mark.parametrize("beta", BETAS)
def test_how_much_too_good_the_best_f_is(beta):
    """About the luck that decides what gain is too small to follow."""
    f = best_thresholds(*calibrated(400_000, 1, -4), beta)[1].item()
    for n in (500, 2000):
        probabilities, targets = calibrated(n, 400, -4, seed=1)
        promised = LUCK * math.sqrt((1 + beta**2) / 2 / beta**2)
        promised *= (targets.sum(0) ** -0.5).mean()
        found = best_thresholds(probabilities, targets, beta)[1].mean() - f
        assert 0.5 < found / promised < 1.5


@pytest.mark.parametrize("average", ["samples", "weighted", None])
def test_no_other_average(average):
    with pytest.raises(
        ValueError,
        match=r'^average must be "macro" \(one threshold per label\) or "micro" '
        rf"\(one for all labels\), got {average!r}, for which neither is right$",
    ):
        advise(SCORES, TARGETS, average=average)


@settings(deadline=None, max_examples=60)
@given(cases, betas, st.integers(0, 10**6))
def test_f_at_one_threshold_or_one_per_label(case, beta, seed):
    scores, targets = case
    k = scores.shape[1]
    random = np.random.default_rng(seed)
    thresholds = random.choice(scores.numpy().ravel(), k).astype(float)
    want = [
        fbeta_score(y, s >= t, beta=beta, zero_division=0)
        for y, s, t in zip(targets.T.numpy(), scores.T.numpy(), thresholds)
    ]
    for one in (thresholds, thresholds.tolist(), torch.from_numpy(thresholds)):
        got = f_at(scores, targets, one, beta)
        assert got.dtype == torch.float64 and got.shape == (k,)
        assert got.numpy() == pytest.approx(want, abs=1e-12)
    same = f_at(scores, targets, thresholds[0], beta)
    assert torch.equal(same, f_at(scores, targets, [thresholds[0]] * k, beta))
    best, f = best_thresholds(scores, targets, beta)
    assert torch.equal(f_at(scores, targets, best, beta), f)


def test_f_beta_of_counts():
    assert f_beta(1, 2, 2) == 0.5 and f_beta(1, 4, 1, beta=2) == 5 / 17
    assert f_beta(0, 0, 0) == 0 and f_beta(0, 0, 0, empty=1.0) == 1
    assert f_beta(0, 2, 0, beta=0.5, empty=1.0) == 0  # where the divisor is below 1
    assert f_beta(3, 3, 3, beta=0.3) == 1  # and not larger, by rounding


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_are_as_good_as_tensors(dtype):
    scores, targets = case(5, 60, 4, 0.6)
    arrays = scores.sigmoid().numpy().astype(dtype), targets.numpy()
    tensors = torch.from_numpy(arrays[0]), targets
    arrays[0].flags.writeable = False
    reversed_twice = [part[::-1].copy()[::-1] for part in arrays]
    for pair in (
        arrays,
        reversed_twice,
        (arrays[0], targets),
        (tensors[0], arrays[1]),
    ):
        for one, other in zip(best_thresholds(*pair), best_thresholds(*tensors)):
            assert torch.equal(one, other)
        assert torch.equal(f_at(*pair, 0.5), f_at(*tensors, 0.5))
        pd.testing.assert_frame_equal(advise(*pair), advise(*tensors))
    assert torch.equal(neg_per_pos(arrays[1]), neg_per_pos(targets))
    weights = threshold_of_weight(np.array([1.0, 3.0], dtype))
    assert weights.tolist() == [0.5, 0.25] and weights.dtype == dtype
    assert weight_of_f(np.array([0.4, 1.0])).tolist() == [4, 1]


SCORES, TARGETS = torch.full((6, 3), 0.5), torch.zeros(6, 3)


def with_one(score):
    scores = SCORES.clone()
    scores[2, 1] = score
    return scores


@pytest.mark.parametrize(
    "scores, targets, message",
    [
        (
            [[0.5]],
            TARGETS,
            "NAME must be a tensor or NumPy array of float32 or float64, got list",
        ),
        (
            SCORES.long(),
            TARGETS,
            "NAME must be a tensor or NumPy array of .*, got torch.int64",
        ),
        (
            SCORES.half(),
            TARGETS,
            "NAME must be a tensor or NumPy array of .*, got torch.float16",
        ),
        (
            SCORES.half().numpy(),
            TARGETS,
            "NAME must be a tensor or NumPy array of float32 or float64, got float16",
        ),
        (np.ma.array(SCORES.numpy()), TARGETS, "NAME must be .*, got MaskedArray"),
        (
            SCORES[0],
            TARGETS,
            r"NAME must have shape \(N, K\) with at least one row and one label, "
            r"got \(3,\)",
        ),
        (SCORES[:0], TARGETS[:0], r"NAME must have shape.*, got \(0, 3\)"),
        (SCORES[:, :0], TARGETS[:, :0], r"NAME must have shape.*, got \(6, 0\)"),
        (
            with_one(math.nan),
            TARGETS,
            r"NAME must be .*, got values from nan to nan in shape \(6, 3\)",
        ),
        (
            with_one(math.inf),
            TARGETS,
            r"NAME must be .*, got values from 0.5 to inf in shape \(6, 3\)",
        ),
        (
            with_one(-math.inf),
            TARGETS,
            r"NAME must be .*, got values from -inf to 0.5 in shape \(6, 3\)",
        ),
        (
            SCORES,
            TARGETS.tolist(),
            "targets must be a tensor or NumPy array of 0 and 1.*got list",
        ),
        (
            SCORES,
            TARGETS[:, 0],
            r"targets must be a tensor or NumPy array of 0 and 1, shape \(N, K\), "
            r"one column per label, here \(6, 3\) as the scores, got shape \(6,\)",
        ),
        (
            SCORES,
            TARGETS[:, :2],
            r"targets must be .*here \(6, 3\) as the scores, got shape \(6, 2\)",
        ),
        (
            SCORES,
            TARGETS[:5],
            r"targets must be .*here \(6, 3\) as the scores, got shape \(5, 3\)",
        ),
        (SCORES, TARGETS - 1, r"targets must be .*got -1.0 in shape \(6, 3\)"),
        (SCORES, TARGETS + 0.5, r"targets must be .*got 0.5 in shape \(6, 3\)"),
        (SCORES, TARGETS + math.nan, r"targets must be .*got nan in shape \(6, 3\)"),
        (SCORES, TARGETS.long() + 2, r"targets must be .*got 2 in shape \(6, 3\)"),
    ],
)
def test_bad_scores_and_targets(scores, targets, message):
    with pytest.raises(ValueError, match=f"^{message.replace('NAME', 'scores')}$"):
        best_thresholds(scores, targets)
    with pytest.raises(ValueError, match=f"^{message.replace('NAME', 'scores')}$"):
        f_at(scores, targets, 0.5)
    with pytest.raises(ValueError, match=f"^{message.replace('NAME', 'scores')}$"):
        tuned_f(scores, targets, [0, 1], [2, 3])
    with pytest.raises(
        ValueError, match=f"^{message.replace('NAME', 'probabilities')}$"
    ):
        advise(scores, targets)


@pytest.mark.parametrize("probability", [-0.01, 1.01])
def test_no_probabilities(probability):
    scores = with_one(probability)
    assert best_thresholds(scores, TARGETS)[1].tolist() == [0, 0, 0]
    with pytest.raises(
        ValueError,
        match=r"^probabilities must be probabilities from 0 to 1, "
        r"got values from .* in shape \(6, 3\)$",
    ):
        advise(scores, TARGETS)


@pytest.mark.parametrize(
    "targets, message",
    [
        (TARGETS[0], r"\(N, K\), one column per label, got shape \(3,\)"),
        (TARGETS[:0], r"got shape \(0, 3\)"),
        (TARGETS + 2, r"got 2.0 in shape \(6, 3\)"),
        (np.ma.array(TARGETS.numpy()), "got MaskedArray"),
    ],
)
def test_bad_targets_of_neg_per_pos(targets, message):
    with pytest.raises(
        ValueError,
        match=f"^targets must be a tensor or NumPy array of 0 and 1.*{message}$",
    ):
        neg_per_pos(targets)


@pytest.mark.parametrize(
    "number",
    [
        0,
        -1.0,
        math.inf,
        math.nan,
        torch.tensor([2.0, 0.0]),
        torch.tensor([2.0, math.inf]),
    ],
)
def test_bad_weights_and_betas(number):
    with pytest.raises(ValueError, match="^weight must be positive and finite, got "):
        threshold_of_weight(number)
    with pytest.raises(
        ValueError, match="^beta must be one number, positive and finite, got "
    ):
        weight_of_f(0.5, number)
    with pytest.raises(ValueError, match="^beta must be one number, positive"):
        f_at(SCORES, TARGETS, 0.5, number)
    with pytest.raises(
        ValueError, match="^beta must be one number, positive and finite, got "
    ):
        best_thresholds(SCORES, TARGETS, number)
    with pytest.raises(
        ValueError, match="^beta must be one number, positive and finite, got "
    ):
        advise(SCORES, TARGETS, beta=number)


@pytest.mark.parametrize(
    "f",
    [
        0,
        0.0,
        -0.1,
        1.001,
        math.inf,
        math.nan,
        torch.tensor([0.5, 0.0]),
        torch.tensor([0.5, 1.5]),
    ],
)
def test_bad_f(f):
    with pytest.raises(
        ValueError, match="^f must be larger than 0 and at most 1, got "
    ):
        weight_of_f(f)


def test_tuned_f_is_the_f_of_the_test_rows_with_the_cuts_of_the_tuning_rows():
    generator = torch.Generator().manual_seed(0)
    scores, targets = (
        torch.rand(300, 4, generator=generator, dtype=torch.float64),
        torch.rand(300, 4, generator=generator) < 0.3,
    )
    tune, test = torch.arange(300)[::3], torch.arange(300)[1::3]
    for beta in (0.5, 1.0, 2.0):
        thresholds, _ = best_thresholds(scores[tune], targets[tune], beta)
        said = (scores[test] >= thresholds).numpy()
        expected = [
            fbeta_score(
                targets[test, k].numpy(), said[:, k], beta=beta, zero_division=0
            )
            for k in range(4)
        ]
        assert tuned_f(scores, targets, tune, test, beta).tolist() == pytest.approx(
            expected
        )
    # Not symmetric, and not what the rows in neither list say.
    assert not torch.equal(
        tuned_f(scores, targets, tune, test), tuned_f(scores, targets, test, tune)
    )
    scores[2::3] = 0.5
    assert tuned_f(scores, targets, tune, test, 2.0).tolist() == pytest.approx(expected)


def test_tuned_f_refuses_rows_that_it_was_tuned_on():
    scores, targets = torch.rand(10, 2), torch.ones(10, 2)
    with pytest.raises(
        ValueError,
        match="^thresholds must not be scored on rows that they were tuned on, "
        "got 2 rows in both, such as 3$",
    ):
        tuned_f(scores, targets, torch.tensor([1, 3, 4]), torch.tensor([4, 5, 3]))
    tuned_f(scores, targets, torch.tensor([1, 3, 4]), torch.tensor([5, 6]))


def test_tuned_f_of_a_label_that_is_neither_true_nor_predicted():
    scores, targets = (
        torch.tensor([[0.9], [0.1], [0.2], [0.3]]),
        torch.tensor([[1], [0], [0], [0]]),
    )
    assert tuned_f(
        scores, targets, torch.tensor([0, 1]), torch.tensor([2, 3])
    ).tolist() == [0]


def test_tuned_f_reaches_a_threshold_that_a_score_equals():
    scores, targets = (
        torch.tensor([[0.5], [0.4], [0.5], [0.4]]),
        torch.tensor([[1], [0]]),
    )
    assert tuned_f(scores, targets.repeat(2, 1), [0, 1], [2, 3]).tolist() == [1]


def test_rows_of_tuned_f_as_numbers_or_masks():
    scores, targets = case(4, 30, 3, 0.8)
    tune, test = np.arange(0, 30, 2), np.arange(1, 30, 2)
    want = tuned_f(scores, targets, torch.from_numpy(tune), torch.from_numpy(test))
    mask = np.arange(30) % 2 == 0
    for rows in (
        (tune, test),
        (tune.tolist(), test[::-1].astype(np.uint8)),
        (mask, ~mask),
        (torch.from_numpy(mask), test),
    ):
        assert torch.equal(tuned_f(scores, targets, *rows), want)
        assert torch.equal(tuned_f(scores.numpy(), targets.numpy(), *rows), want)


@pytest.mark.parametrize(
    "rows, got",
    [
        ([], r"float64 of shape \(0,\)"),
        (torch.arange(0), r"int64 of shape \(0,\)"),
        ([-1, 0], "-1 to 0"),
        ([0, 6], "0 to 6"),
        ([0, 1, 0], "3 numbers of 2 rows"),
        ([0.0, 1.0], r"float64 of shape \(2,\)"),
        ([[0, 1]], r"int64 of shape \(1, 2\)"),
        (0, r"int64 of shape \(\)"),
        (None, r"object of shape \(\)"),
        ([True, False], r"bool of shape \(2,\)"),
        ([False] * 6, r"bool of shape \(6,\)"),
        ([[True]] * 6, r"bool of shape \(6, 1\)"),
    ],
)
def test_bad_rows_of_tuned_f(rows, got):
    asked = (
        "must be row numbers from 0 to 5, at least one and each once, "
        f"or a mask of 6 booleans with one that is true, got {got}$"
    )
    with pytest.raises(ValueError, match=f"^tune {asked}"):
        tuned_f(SCORES, TARGETS, rows, [5])
    with pytest.raises(ValueError, match=f"^test {asked}"):
        tuned_f(SCORES, TARGETS, [5], rows)


@pytest.mark.parametrize("row", [0, 3, 5])
@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_tuned_f_refuses_scores_that_are_not_finite_in_any_row(row, score):
    scores = SCORES.clone()
    scores[row, 0] = score
    with pytest.raises(ValueError, match="^scores must be finite, got values from "):
        tuned_f(scores, TARGETS, [0, 1], [3, 4])


@pytest.mark.parametrize("value", [[1.0, 2.0], (1.0,), "1", None, 1j])
def test_weights_and_f_that_are_no_numbers(value):
    asked = rf"must be a number, tensor or array, got {re.escape(repr(value))}$"
    with pytest.raises(ValueError, match=f"^weight {asked}"):
        threshold_of_weight(value)
    with pytest.raises(ValueError, match=f"^f {asked}"):
        weight_of_f(value)
    with pytest.raises(ValueError, match="^beta must be one number"):
        weight_of_f(0.5, value)


def expected_f(of, joint, sets, beta):
    """E[F-beta] of each row of `of`, from the probabilities of all label sets."""
    f = f_beta(of @ sets.T, sets.sum(1), of.sum(1)[:, None], beta, empty=1.0)
    return f @ joint


def all_sets(k):
    return np.array(list(itertools.product([0, 1], repeat=k)))


def product_of(p, sets):
    """The probabilities of label sets, if labels are independent."""
    return np.where(sets, p, 1 - p).prod(1)


def by_double_loop(p, beta):
    """The size of the best set, as in textbooks: over how many chosen labels are true,
    and how many others. In pure Python, for one row of probabilities.
    """

    def one_more(counts, p):
        """The distribution of a number of true labels, with one more label."""
        return [
            (1 - p) * same + p * fewer
            for same, fewer in zip([*counts, 0], [0, *counts])
        ]

    p, squared = sorted(p, reverse=True), beta**2
    others = [[1.0]]
    for value in reversed(p):
        others.append(one_more(others[-1], value))
    chosen, best, best_size = [1.0], others.pop()[0], 0
    for k, value in enumerate(p, 1):
        chosen, rest = one_more(chosen, value), others.pop()
        expected = 0
        for a, p_a in enumerate(chosen):
            for b, p_b in enumerate(rest):
                expected += a * p_a * p_b / (k + squared * (a + b))
        if (1 + squared) * expected > best:
            best, best_size = (1 + squared) * expected, k
    return best_size


any_beta = st.sampled_from([0.03, 0.5, 1, Fraction(5, 4), 2, math.pi, 20])
some_p = st.lists(
    st.sampled_from([0.0, 1.0, 0.5, 0.25, 1 / 3, 1e-12]) | st.floats(0, 1),
    min_size=1,
    max_size=6,
).map(np.array)


@settings(deadline=None, max_examples=200)
@given(some_p, any_beta)
def test_the_sets_of_the_largest_expected_f_among_all_sets(p, beta):
    sets = all_sets(len(p))
    expected = expected_f(sets, product_of(p, sets), sets, float(beta))
    [chosen] = expected_f_sets(p[None], beta).numpy()
    of_chosen = expected[(sets == chosen).all(1)]
    assert of_chosen == pytest.approx(expected.max(), abs=1e-9)
    # Of equally good sets a smallest one, and of equal labels the first.
    assert chosen.sum() <= sets[expected > expected.max() - 1e-12].sum(1).min()
    first = np.argsort(-p, kind="stable")[: chosen.sum()]
    assert chosen.nonzero()[0].tolist() == sorted(first)


@pytest.mark.parametrize("beta", [0.1, *BETAS, 3.7])
def test_expected_f_of_many_labels_is_that_of_the_double_loop(beta):
    random = np.random.default_rng(0)
    p = random.beta(0.3, 1, (12, 60)) ** random.integers(1, 5, (12, 1))
    p[3, :30], p[4, 20:], p[5] = 0, 1, 0.5
    chosen = expected_f_sets(p, beta)
    assert chosen.sum(1).tolist() == [by_double_loop(row, beta) for row in p]
    assert len(chosen.sum(1).unique()) > 4


def test_expected_f_of_a_thousand_labels():
    p = np.linspace(0, 1, 150) ** 3
    for rare in (np.zeros(850), np.full(850, 1e-300)):
        chosen = expected_f_sets(np.append(p, rare)[None])
        assert chosen.sum() == by_double_loop(p, 1) and chosen[0, 149]
    assert expected_f_sets(np.ones((1, 1000))).all()
    assert not expected_f_sets(np.zeros((1, 1000))).any()
    # A row's answer does not depend on the others.
    many = np.random.default_rng(0).random((300, 200)) ** 2
    alone = torch.cat([expected_f_sets(row[None]) for row in many])
    assert torch.equal(expected_f_sets(many), alone)


@pytest.mark.parametrize("beta", BETAS)
def test_expected_f_as_dacaf_finds_it(beta):
    """From the probabilities that a label is true and s labels are."""
    random, sets = np.random.default_rng(0), all_sets(5)
    p = random.beta(0.4, 0.8, (300, 5))
    independent = np.array([product_of(row, sets) for row in p])
    dependent = random.dirichlet(np.full(len(sets), 0.1), 300)
    of_size = np.eye(6)[sets.sum(1)]
    for joint, found in [
        (independent, expected_f_sets(p, beta)),
        (independent, expected_f_sets_of_joint(independent, sets, beta)),
        (dependent, expected_f_sets_of_joint(dependent, sets, beta)),
    ]:
        stats = InferenceStats(
            n_samples=300,
            n_labels=5,
            pairwise=np.einsum("nm,mk,ms->nks", joint, sets, of_size),
            p_empty=joint[:, :1],
        )
        assert found.tolist() == bop_fmeasure(stats, beta).astype(bool).tolist()
        assert len(found.sum(1).unique()) > 3


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 5), any_beta, st.integers(0, 10**6), st.booleans())
def test_the_sets_of_the_largest_expected_f_of_a_joint(k, beta, seed, some):
    """Some sets, of which several may be the same; or all."""
    random = np.random.default_rng(seed)
    sets = every = all_sets(k)
    if some:
        sets = every[random.integers(len(every), size=random.integers(1, 9))]
    weights = random.dirichlet(np.full(len(sets), random.choice([0.05, 1])), 4)
    # Of sets as likely, many are equally good.
    weights[0] = 1 / len(sets)
    chosen = expected_f_sets_of_joint(weights, sets, beta)
    assert chosen.dtype == torch.bool and chosen.shape == (4, k)
    for row, joint in zip(chosen.numpy(), weights):
        expected = expected_f(every, joint, sets, float(beta))
        of_chosen = expected[(every == row).all(1)]
        assert of_chosen == pytest.approx(expected.max(), abs=1e-9)
        assert row.sum() <= every[expected > expected.max() - 1e-12].sum(1).min()


@settings(deadline=None, max_examples=50)
@given(some_p, any_beta)
def test_the_joint_of_independent_labels(p, beta):
    sets = all_sets(len(p))
    one = expected_f_sets(p[None], beta)
    other = expected_f_sets_of_joint(product_of(p, sets)[None], sets, beta)
    assert torch.equal(one, other)


def test_what_the_joint_knows_and_probabilities_do_not():
    """Exactly one of three labels is true: either is as likely, and all are chosen."""
    weights, sets = np.full((1, 3), 1 / 3), np.eye(3)
    assert expected_f_sets_of_joint(weights, sets).tolist() == [[True] * 3]
    # None or all: with 0.4 each probability is below one half, but F of all is 0.4.
    weights, sets = np.array([[0.6, 0.4], [0.4, 0.6]]), np.array([[0] * 3, [1] * 3])
    chosen = expected_f_sets_of_joint(weights, sets)
    assert chosen.tolist() == [[False] * 3, [True] * 3]
    assert expected_f_sets(np.full((1, 3), 0.4)).all()


def test_the_best_sets_of_two_sizes_of_a_joint_need_not_share_a_label():
    sets = np.array([[1, 0, 0, 0, 0], [0, 1, 1, 1, 1]])
    chosen = expected_f_sets_of_joint(np.array([[0.4, 0.6]]), sets, 0.5)
    assert chosen.tolist() == [[False, True, True, True, True]]


def test_of_equally_good_labels_of_a_joint_the_first_whatever_the_rounding():
    """The third label, and one of the first two, between which nothing decides."""
    sets = [[1, 0, 1], [0, 1, 1], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]]
    parts = np.random.default_rng(0).dirichlet(np.ones(20), (200, 6))
    weights = np.array([0.386, 0.386, 0.084, 0.084, 0.05, 0.01])[:, None] * parts
    chosen = expected_f_sets_of_joint(
        weights.reshape(200, 120), np.repeat(sets, 20, axis=0), 0.5
    )
    assert chosen.tolist() == [[True, False, True]] * 200


def test_an_integral_that_is_not_exact_is_refused(monkeypatch):
    monkeypatch.setattr(
        "helpers.decide.roots_legendre", np.polynomial.chebyshev.chebgauss
    )
    with pytest.raises(
        ValueError, match="^probabilities must have fewer labels, got 3$"
    ):
        expected_f_sets(SCORES)


def test_expected_f_of_tensors_and_arrays():
    p = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    kept, chosen = p.clone(), expected_f_sets(p)
    assert chosen.dtype == torch.bool and chosen.device.type == "cpu"
    backwards = p.numpy()[::-1].copy()[::-1]
    for same in (p.double(), p.numpy(), backwards, p.clone().requires_grad_()):
        assert torch.equal(expected_f_sets(same), chosen)
    # Where nothing and the first label are as good but for the rounding of float32.
    second = torch.linspace(0.01, 0.3, 200)
    close = torch.stack([(1 - second) / (2 - second * 4 / 3), second], 1)
    chosen = expected_f_sets(close)
    assert torch.equal(expected_f_sets(close.double()), chosen)
    assert len(chosen.sum(1).unique()) > 1
    weights = (5 * p).softmax(1)
    sets = torch.tensor([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 0, 0]])
    chosen = expected_f_sets_of_joint(weights, sets)
    for same in (sets.bool(), sets.numpy(), sets.double(), sets.tolist()):
        assert torch.equal(expected_f_sets_of_joint(weights.numpy(), same), chosen)
    # Weights need not sum to 1 exactly.
    off = weights.double() * 1.00009
    assert torch.equal(expected_f_sets_of_joint(off, sets), chosen)
    assert torch.equal(p, kept)


@pytest.mark.parametrize("number", [0, -1.0, math.inf, math.nan, "1"])
def test_bad_betas_of_expected_f(number):
    for call in (
        lambda: expected_f_sets(SCORES, number),
        lambda: expected_f_sets_of_joint(SCORES / 1.5, np.eye(3), number),
    ):
        with pytest.raises(ValueError, match="^beta must be one number, positive"):
            call()


@pytest.mark.parametrize("bad", [SCORES.long(), SCORES[0], SCORES + 0.6, -SCORES])
def test_bad_probabilities_of_expected_f(bad):
    with pytest.raises(ValueError, match="^probabilities must "):
        expected_f_sets(bad)
    with pytest.raises(ValueError, match="^weights must "):
        expected_f_sets_of_joint(bad, np.eye(3))


@pytest.mark.parametrize(
    "sets", [np.eye(2), np.eye(3) / 2, np.ones(3), np.ones((3, 0)), np.eye(3) + np.nan]
)
def test_bad_sets(sets):
    asked = r"sets must be 0 and 1, shape \(M, K\), one row for each column of weights"
    got = re.escape(f"here 3, got float64 of shape {sets.shape}")
    with pytest.raises(ValueError, match=f"^{asked}, {got}$"):
        expected_f_sets_of_joint(torch.eye(3), sets)


@pytest.mark.parametrize("change", [-0.001, 0.001])
def test_weights_that_do_not_sum_to_one(change):
    weights = np.full((3, 2), 0.5)
    weights[1, 0] += change
    with pytest.raises(
        ValueError,
        match=f"^weights must sum to 1 in each row, got {1 + change} in row 1$",
    ):
        expected_f_sets_of_joint(weights, np.eye(2))


def risk(scores, targets, threshold):
    """What conformal risk control bounds, in fractions: missed shares, and one more."""
    missed = Fraction(1)
    for row, true in zip(scores.tolist(), targets.tolist()):
        of_row = [score >= threshold for score, y in zip(row, true) if y]
        if of_row:
            missed += Fraction(of_row.count(False), len(of_row))
    return missed / (len(scores) + 1)


@settings(deadline=None, max_examples=150)
@given(cases, st.fractions(0, 1, max_denominator=12).filter(lambda r: 0 < r < 1))
def test_the_recall_threshold_is_the_largest_that_keeps_the_risk(case, recall):
    """Ties, rows without labels, too few rows, and bounds that are met exactly."""
    scores, targets = case
    above = torch.nextafter(scores.max(), torch.tensor(math.inf, dtype=scores.dtype))
    kept = [
        threshold
        for threshold in [*scores.unique().tolist(), above.item()]
        if risk(scores, targets, threshold) <= 1 - recall
    ]
    if kept:
        assert recall_threshold(scores, targets, float(recall)) == max(kept)
        same = recall_threshold(scores.numpy(), targets.double(), recall)
        assert type(same) is float and same == max(kept)
    else:
        least = math.ceil(recall / (1 - recall))
        assert len(scores) < least
        with pytest.raises(
            ValueError,
            match=f"^scores must have at least {least} rows to promise a recall of .*, "
            f"got {len(scores)}$",
        ):
            recall_threshold(scores, targets, float(recall))


def test_rows_that_a_recall_needs():
    scores, targets = torch.rand(99, 2), torch.ones(99, 2)
    for recall, least in [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)]:
        fewer = least - 1 or 1
        found = recall_threshold(scores[:least], targets[:least], recall)
        assert found == scores[:least].min().item()
        if fewer < least:
            with pytest.raises(ValueError, match=f"at least {least} rows"):
                recall_threshold(scores[:fewer], targets[:fewer], recall)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_to_miss(dtype):
    scores, targets = case(0, 40, 5, 0.5, dtype)
    threshold = recall_threshold(scores, torch.zeros_like(targets))
    assert threshold > scores.max() and not (scores >= threshold).any()
    assert scores.numpy().dtype.type(threshold) == threshold


def test_the_recall_that_was_promised():
    """On average over calibrations and new rows; and hardly more of it."""
    random = np.random.default_rng(0)
    recalls = []
    for _ in range(2000):
        truth = random.random((41, 6)) < [0.5, 0.3, 0.2, 0.1, 0.1, 0.02]
        scores = random.normal(size=(41, 6)) + 1.5 * truth
        threshold = recall_threshold(scores[:40], truth[:40], 0.8)
        of_row = (scores[40] >= threshold)[truth[40]]
        recalls.append(of_row.mean() if len(of_row) else 1)
    # The bound is within 2 / 41 of the mean recall (theorem 2 of the paper).
    error = 4 * np.std(recalls) / math.sqrt(len(recalls))
    assert 0.8 - error < np.mean(recalls) < 0.8 + 2 / 41 + error


@pytest.mark.parametrize("recall", [0.6, 0.83, 0.9, 0.95])
def test_mapie_finds_the_same_threshold(recall):
    """On a grid of all scores. It predicts above its threshold, and not from it on, and
    refuses rows without labels.
    """
    random = np.random.default_rng(3)
    targets = random.random((80, 3)) < 0.4
    targets[np.arange(80), random.integers(3, size=80)] = True
    scores = (random.random((80, 3)) + targets) / 2
    controller = MultiLabelClassificationController(
        lambda rows: rows,
        target_level=recall,
        predict_params=np.nextafter(np.unique(scores), -1),
    ).calibrate(scores, targets)
    [threshold] = np.nextafter(controller.best_predict_param, 1)
    assert recall_threshold(scores, targets, recall) == threshold
    with pytest.raises(ValueError, match="at least one label"):
        controller.calibrate(scores, np.zeros_like(targets))


@pytest.mark.parametrize("recall", [0, 1, -0.1, 1.1, math.nan, "0.9", None, [0.9]])
def test_bad_recalls(recall):
    with pytest.raises(
        ValueError,
        match="^recall must be one number between 0 and 1, got "
        f"{re.escape(str(recall))}$",
    ):
        recall_threshold(SCORES, TARGETS, recall)


@pytest.mark.parametrize("bad", [with_one(math.nan), SCORES.half(), SCORES[:, :2]])
def test_bad_scores_of_recall_threshold(bad):
    with pytest.raises(ValueError, match="^(scores|targets) must "):
        recall_threshold(bad, TARGETS, 0.5)
