import math
import re
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import fbeta_score, precision_recall_curve
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from helpers.decide import (
    advise,
    best_cuts,
    cut_of_weight,
    neg_per_pos,
    tuned_f,
    weight_of_f,
)

BETAS = [0.5, 1, 2]


def case(seed, n, k, rate, dtype=torch.float64):
    """Scores with many ties, and targets with absent labels and labels that are always true."""
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
    """In fractions, over every threshold that is a score; of the best ones the lowest."""
    squared, best = Fraction(beta) ** 2, (Fraction(-1), None)
    for cut in sorted(set(scores.tolist()), reverse=True):
        predicted = scores >= cut
        tp, count = int((predicted & true).sum()), int(predicted.sum())
        best = max(
            best, ((1 + squared) * tp / (squared * int(true.sum()) + count), -cut)
        )
    return -best[1], float(best[0])


def by_scikit_learn(scores, true, beta):
    """From the precision-recall curve, whose counts are whole numbers again once they are rounded."""
    precision, recall, thresholds = precision_recall_curve(true, scores)
    tp = np.rint(recall[:-1] * true.sum())
    predicted = np.rint(tp / np.where(tp > 0, precision[:-1], 1))
    f = (1 + beta**2) * tp / (beta**2 * true.sum() + predicted)
    return float(thresholds[np.argmax(f)]), float(f.max())


@settings(deadline=None, max_examples=150)
@given(cases, betas)
def test_best_cuts_are_those_of_every_threshold_tried(case, beta):
    cuts, f = best_cuts(*case, beta)
    assert cuts.dtype == f.dtype == torch.float64 and cuts.shape == f.shape == (
        case[0].shape[1],
    )
    for k, (scores, true) in enumerate(zip(*(part.T.numpy() for part in case))):
        if true.any():
            assert (
                (cuts[k].item(), f[k].item())
                == by_brute_force(scores, true, beta)
                == by_scikit_learn(scores, true, beta)
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", BETAS)
def test_best_cuts_of_many_rows_and_labels(beta, dtype):
    """More than one block of rows and of columns; scores with few ties, and rounded ones with many."""
    random = torch.Generator().manual_seed(0)
    targets = torch.rand(1000, 70, generator=random) < torch.linspace(0.01, 0.9, 70)
    scores = (torch.randn(1000, 70, generator=random, dtype=dtype) + targets).to(dtype)
    scores[:, ::2] = (10 * scores[:, ::2]).round() / 10
    cuts, f = best_cuts(scores, targets, beta)
    wanted = [
        by_scikit_learn(*columns, beta)
        for columns in zip(scores.T.numpy(), targets.T.numpy())
    ]
    assert list(zip(cuts.tolist(), f.tolist())) == wanted


def test_f_is_that_of_the_predictions():
    scores, targets = case(3, 200, 6, 0.4)
    for beta in BETAS:
        cuts, f = best_cuts(scores, targets, beta)
        assert f.numpy() == pytest.approx(
            fbeta_score(targets, scores >= cuts, beta=beta, average=None), abs=1e-12
        )


@settings(deadline=None, max_examples=60)
@given(
    cases,
    betas,
    st.sampled_from([lambda x: 3 * x + 1, lambda x: x**3, torch.exp, torch.sigmoid]),
)
def test_cuts_move_along_with_the_scores(case, beta, increasing):
    scores, targets = case[0].double(), case[1]
    cuts, f = best_cuts(scores, targets, beta)
    moved, same = best_cuts(increasing(scores), targets, beta)
    assert torch.equal(same, f) and torch.equal(moved[f > 0], increasing(cuts[f > 0]))


@settings(deadline=None, max_examples=60)
@given(cases, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(case, random):
    order = random.sample(range(len(case[0])), len(case[0]))
    for one, other in zip(best_cuts(*case), best_cuts(case[0][order], case[1][order])):
        assert torch.equal(one, other)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_float32_scores_are_compared_as_they_are(seed):
    random = torch.Generator().manual_seed(seed)
    scores, targets = (
        torch.rand(50, 4, generator=random),
        torch.rand(50, 4, generator=random) < 0.5,
    )
    cuts, f = best_cuts(scores, targets)
    assert torch.equal(
        torch.stack(best_cuts(scores.double(), targets)), torch.stack([cuts, f])
    )
    assert torch.equal(scores >= cuts, scores >= cuts.float())


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
    wanted = torch.stack(best_cuts(scores, targets))
    strided = scores.T.contiguous().T.to(device).requires_grad_()
    assert torch.equal(
        torch.stack(best_cuts(strided, targets.to(device, dtype))), wanted
    )
    assert torch.equal(
        neg_per_pos(targets.to(device, dtype)).cpu(), neg_per_pos(targets)
    )
    table = advise(targets.to(device, dtype), strided.sigmoid())
    pd.testing.assert_frame_equal(table, advise(targets, scores.sigmoid()))


def test_inputs_are_not_changed():
    scores, targets = case(2, 40, 5, 0.5)
    scores = scores.sigmoid()
    kept = scores.clone(), targets.clone()
    best_cuts(scores, targets), advise(targets, scores), neg_per_pos(targets)
    weights = torch.tensor([2.0, 0.5])
    cut_of_weight(weights), weight_of_f(weights / 2)
    assert (
        torch.equal(scores, kept[0])
        and torch.equal(targets, kept[1])
        and weights.tolist() == [2.0, 0.5]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", BETAS)
def test_labels_without_positives_or_negatives(dtype, beta):
    scores = torch.tensor([[0.1, 0.2], [1.0, 0.7], [0.3, 0.9]], dtype=dtype)
    cuts, f = best_cuts(scores, torch.tensor([[0, 1], [0, 1], [0, 1]]), beta)
    assert f.tolist() == [0, 1] and cuts[1] == scores[0, 1]
    assert (
        cuts[0] == torch.nextafter(scores[1, 0], torch.tensor(math.inf, dtype=dtype))
        and cuts.isfinite().all()
    )
    for known in (cuts, cuts.to(dtype)):
        assert (scores >= known).tolist() == [[False, True]] * 3


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
        match="^targets must have positives and negatives of every label, got no positives of 0, 2: the weight would be infinite$",
    ):
        neg_per_pos(targets)
    with pytest.raises(
        ValueError, match="got no negatives of 2: the weight would be 0$"
    ):
        neg_per_pos(targets[:, [1, 4, 3]])


# A table of 5 inputs: how often each occurs, and how often it is positive. A model with a logit for each finds the exact minimiser.
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
    # Training with the weight and cutting at 0.5, or without and cutting at 1 / (1 + weight).
    assert torch.equal(logits.sigmoid() > 0.5, PLAIN.sigmoid() > cut_of_weight(weight))


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


@given(st.floats(-8, 8), st.floats(0.01, 100))
def test_cutting_there_is_shifting_the_logit(logit, weight):
    shifted = logit + math.log(weight)
    if abs(shifted) > 1e-9:
        assert (1 / (1 + math.exp(-logit)) >= cut_of_weight(weight)) == (shifted >= 0)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("a, b", [(0.3, 6), (2, 5), (2, 2)])
def test_the_weight_of_f_is_the_best_of_all_weights(a, b, beta):
    """Calibrated probabilities with a Beta distribution: F of any weight in closed form, for infinitely many data."""

    def f_of(weight):
        cut = 1 / (1 + weight)
        tp = scipy.stats.beta.sf(cut, a + 1, b) * a / (a + b)  # E[p; p >= cut]
        return (
            (1 + beta**2)
            * tp
            / (beta**2 * a / (a + b) + scipy.stats.beta.sf(cut, a, b))
        )

    weights = np.geomspace(0.2, 200, 20_001)
    f = f_of(weights)
    assert weight_of_f(f.max(), beta) == pytest.approx(weights[f.argmax()], rel=0.01)
    assert cut_of_weight(weight_of_f(f.max(), beta)) == pytest.approx(
        f.max() / (1 + beta**2), rel=1e-12
    )
    assert f_of(weight_of_f(f.max(), beta)) == pytest.approx(f.max(), abs=1e-7)


def test_weights_and_cuts_of_floats_and_tensors():
    assert (
        cut_of_weight(1) == 0.5
        and cut_of_weight(49.0) == 0.02
        and weight_of_f(0.4) == 4.0
        and weight_of_f(1) == 1
        and weight_of_f(0.5, beta=2) == 9
    )
    assert type(weight_of_f(0.4)) is float
    weights = weight_of_f(torch.tensor([0.4, 1.0], dtype=torch.float64))
    assert (
        weights.tolist() == [4, 1]
        and cut_of_weight(weights).tolist() == [0.2, 0.5]
        and weights.dtype == torch.float64
    )


COLUMNS = [
    "positives",
    "prevalence",
    "neg_per_pos",
    "f_at_half",
    "best_cut",
    "best_f",
    "weight",
    "advice",
]


@settings(deadline=None, max_examples=60)
@given(cases, st.sampled_from([*BETAS, 0.3]))
def test_the_columns_of_advise(case, beta):
    probabilities, targets = case[0].sigmoid(), case[1]
    table = advise(targets, probabilities, beta)
    assert (
        list(table.columns) == COLUMNS
        and table.index.name == "label"
        and table.index.tolist() == list(range(targets.shape[1]))
    )
    numbers = table.drop(columns="advice")
    assert (
        np.isfinite(numbers.to_numpy(float)).all()
        and table["positives"].dtype == np.int64
    )
    assert (numbers.drop(columns="positives").dtypes == np.float64).all()
    cuts, f = best_cuts(probabilities, targets, beta)
    assert (
        table["best_cut"].tolist() == cuts.tolist()
        and table["best_f"].tolist() == f.tolist()
    )
    assert (
        table["positives"].tolist() == targets.sum(0).tolist()
        and table["prevalence"].tolist() == targets.double().mean(0).tolist()
    )
    half = [
        fbeta_score(y, p >= 0.5, beta=beta, zero_division=0)
        for y, p in zip(targets.T.numpy(), probabilities.T.numpy())
    ]
    assert table["f_at_half"].to_numpy() == pytest.approx(half, abs=1e-12)
    for row in table.itertuples():
        assert row.weight == (weight_of_f(row.best_f, beta) if row.positives else 1)
        assert row.neg_per_pos == (len(targets) - row.positives) / max(row.positives, 1)
        assert re.match("no |only |0.5 is fine|cut at ", row.advice)


def two_groups(n, positives, high, low):
    """Targets and probabilities (n, 1): the positives get `high` and the others `low`."""
    targets = (torch.arange(n) < positives).double()[:, None]
    return targets, torch.where(targets > 0, high, low)


@pytest.mark.parametrize(
    "given, sentence",
    [
        (two_groups(100, 0, 0.9, 0.1), "no positives here: nothing can be tuned"),
        (two_groups(100, 100, 0.9, 0.1), "no negatives here: nothing can be tuned"),
        (
            two_groups(100, 1, 0.9, 0.1),
            "only 1 positive: a cut tuned on so few is noisy, and its F1 too good; share one cut among the rare labels, or collect more",
        ),
        (
            two_groups(100, 29, 0.9, 0.1),
            "only 29 positives: a cut tuned on so few is noisy, and its F1 too good; share one cut among the rare labels, or collect more",
        ),
        (two_groups(100, 30, 0.9, 0.04), "0.5 is fine (F1 1.00, at best 1.00)"),
        # The sum is that of the positives, and yet the best cut is not where calibrated probabilities have it.
        (
            two_groups(1000, 100, 0.45, 0.06),
            "cut at 0.45 instead of 0.5 (F1 0.00 -> 1.00); the probabilities look uncalibrated: they sum to 99, and calibrated ones are best cut at 0.5",
        ),
        # The other way round.
        (
            two_groups(1000, 100, 0.9, 0.4),
            "0.5 is fine (F1 1.00, at best 1.00); the probabilities look uncalibrated: they sum to 450, and calibrated ones are best cut at 0.5",
        ),
    ],
)
def test_sentences(given, sentence):
    assert advise(*given)["advice"].tolist() == [sentence]


@pytest.mark.parametrize(
    "n, positives, below, half", [(100, 30, 1, "0.98"), (20_000, 10_000, 80, "1.00")]
)
def test_a_small_gain(n, positives, below, half):
    """That may be luck, or is certain but not worth a word; nor is a sum that is certainly wrong, but by little."""
    targets, probabilities = two_groups(n, positives, 0.99, 0.04)
    probabilities[:below] = 0.45
    assert advise(targets, probabilities)["advice"].tolist() == [
        f"0.5 is fine (F1 {half}, at best 1.00)"
    ]


def calibrated(n, k, centre, seed=0):
    random = torch.Generator().manual_seed(seed)
    probabilities = (
        2 * torch.randn(n, k, generator=random, dtype=torch.float64) + centre
    ).sigmoid()
    return torch.rand(
        n, k, generator=random, dtype=torch.float64
    ) < probabilities, probabilities


@pytest.mark.parametrize("beta", BETAS)
def test_the_sentence_that_suggests_a_cut(beta):
    table = advise(*calibrated(20_000, 1, -4), beta)
    row = table.iloc[0]
    assert row.advice == (
        f"cut at {row.best_cut:.2g} instead of 0.5 (F{beta} {row.f_at_half:.2f} -> {row.best_f:.2f}); "
        f"neg/pos = {row.neg_per_pos:.3g} would cut at {row.prevalence:.2g}"
    )
    assert row.best_cut == pytest.approx(row.best_f / (1 + beta**2), rel=0.2)


@pytest.mark.parametrize("centre", [-5, -3, -1])
def test_calibrated_probabilities_look_calibrated_and_weighted_ones_do_not(centre):
    targets, probabilities = calibrated(3000, 100, centre)
    keep = targets.sum(0) >= 30
    targets, probabilities = targets[:, keep], probabilities[:, keep]
    weighted = (probabilities.logit() + neg_per_pos(targets).log()).sigmoid()
    suspected = [
        advise(targets, given)["advice"].str.contains("uncalibrated").mean()
        for given in (probabilities, weighted)
    ]
    assert keep.sum() > 50 and suspected[0] < 0.1 and suspected[1] > 0.9


def test_how_much_too_good_the_best_f_is():
    """About 0.2 / sqrt(positives), which decides what gain is too small to speak of."""
    targets, probabilities = calibrated(400_000, 1, -4)
    f = best_cuts(probabilities, targets)[1].item()
    for n in (500, 2000):
        targets, probabilities = calibrated(n, 400, -4, seed=1)
        promised = 0.2 * (targets.sum(0) ** -0.5).mean()
        assert 0.5 < (best_cuts(probabilities, targets)[1].mean() - f) / promised < 1.5


SCORES, TARGETS = torch.full((6, 3), 0.5), torch.zeros(6, 3)


def with_one(score):
    scores = SCORES.clone()
    scores[2, 1] = score
    return scores


@pytest.mark.parametrize(
    "scores, targets, message",
    [
        ([[0.5]], TARGETS, "NAME must be a float32 or float64 tensor, got list"),
        (
            SCORES.long(),
            TARGETS,
            "NAME must be a float32 or float64 tensor, got torch.int64",
        ),
        (
            SCORES.half(),
            TARGETS,
            "NAME must be a float32 or float64 tensor, got torch.float16",
        ),
        (
            SCORES[0],
            TARGETS,
            r"NAME must have shape \(N, K\) with at least one row and one label, got \(3,\)",
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
        (SCORES, TARGETS.tolist(), "targets must be a tensor of 0 and 1.*got list"),
        (
            SCORES,
            TARGETS[:, 0],
            r"targets must be a tensor of 0 and 1, shape \(N, K\), one column per label, here \(6, 3\) as the scores, got shape \(6,\)",
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
        best_cuts(scores, targets)
    with pytest.raises(
        ValueError, match=f"^{message.replace('NAME', 'probabilities')}$"
    ):
        advise(targets, scores)


@pytest.mark.parametrize("probability", [-0.01, 1.01])
def test_no_probabilities(probability):
    scores = with_one(probability)
    assert best_cuts(scores, TARGETS)[1].tolist() == [0, 0, 0]
    with pytest.raises(
        ValueError,
        match=r"^probabilities must be probabilities from 0 to 1, got values from .* in shape \(6, 3\)$",
    ):
        advise(TARGETS, scores)


@pytest.mark.parametrize(
    "targets, message",
    [
        (TARGETS[0], r"\(N, K\), one column per label, got shape \(3,\)"),
        (TARGETS[:0], r"got shape \(0, 3\)"),
        (TARGETS + 2, r"got 2.0 in shape \(6, 3\)"),
        (TARGETS.numpy(), "got ndarray"),
    ],
)
def test_bad_targets_of_neg_per_pos(targets, message):
    with pytest.raises(
        ValueError, match=f"^targets must be a tensor of 0 and 1, shape .*{message}$"
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
        cut_of_weight(number)
    with pytest.raises(ValueError, match="^beta must be positive and finite, got "):
        weight_of_f(0.5, number)
    with pytest.raises(ValueError, match="^beta must be positive and finite, got "):
        best_cuts(SCORES, TARGETS, number)
    with pytest.raises(ValueError, match="^beta must be positive and finite, got "):
        advise(TARGETS, SCORES, number)


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
        cuts, _ = best_cuts(scores[tune], targets[tune], beta)
        said = (scores[test] >= cuts).numpy()
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
        match=r"^cuts must not be scored on rows that they were tuned on, got 2 rows in both, such as 3$",
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
