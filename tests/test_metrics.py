import itertools
import math
import re
from functools import partial
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as oracle
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.functional.classification import (
    multilabel_auroc,
    multilabel_average_precision,
    multilabel_f1_score,
    multilabel_stat_scores,
)

from helpers import metrics
from helpers.decide import advise, best_thresholds, f_at
from helpers.metrics import EQUAL, _ranks, bootstrap_f, evaluate, evaluate_logits
from helpers.stats import Interval


def case(seed, n, k, rate):
    """Logits with ties and zeros (probability 0.5), absent labels and empty rows."""
    random = np.random.default_rng(seed)
    logits = random.integers(-6, 7, (n, k)) / 2
    targets = (random.random((n, k)) < rate * random.random(k)).astype(int)
    return torch.from_numpy(logits), torch.from_numpy(targets)


cases = st.builds(
    case, st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 8), st.floats(0, 1)
)
SCORES = [
    "per_logit_accuracy",
    "exact_match",
    "micro_f1",
    "macro_f1",
    "samples_f1",
    "macro_ap",
]


def scores_of(model, loader, **options):
    return evaluate(model, loader, resamples=0, **options).scores


def batches(logits, targets, *ends):
    return list(
        zip(torch.tensor_split(logits, ends), torch.tensor_split(targets, ends))
    )


def by_scikit_learn(logits, predicted, true):
    """The six scores of predictions and scores, from the library."""
    y, p, present = true.astype(int), predicted.astype(int), true.any(0)
    some, (y_some, p_some) = present.any(), (part[:, present] for part in (y, p))
    absent = {"zero_division": np.nan}
    return [
        (y == p).mean(),
        (y == p).all(1).mean(),
        oracle.f1_score(y.ravel(), p.ravel(), **absent),
        np.mean(
            [oracle.f1_score(a, b, zero_division=0) for a, b in zip(y_some.T, p_some.T)]
        )
        if some
        else math.nan,
        np.mean([oracle.f1_score(a, b, zero_division=1.0) for a, b in zip(y, p)]),
        np.mean(
            [
                oracle.average_precision_score(a, b)
                for a, b in zip(y_some.T, logits[:, present].T)
            ]
        )
        if some
        else math.nan,
    ]


@settings(deadline=None, max_examples=15)
@given(cases, st.floats(0.05, 0.95))
def test_agrees_with_scikit_learn(case, threshold):
    logits, targets = case
    got = scores_of(nn.Identity(), [case], threshold=threshold)
    assert got.index.tolist() == SCORES and got.index.name == "score"
    assert list(got.columns) == ["model", "nothing", "constant", "left_out"]
    assert got.dtypes.tolist() == [np.float64] * 3 + [np.int64]
    true = targets.numpy() == 1
    predicted = (logits.sigmoid() >= threshold).numpy()
    want = by_scikit_learn(logits.numpy(), predicted, true)
    assert got["model"].tolist() == pytest.approx(want, abs=1e-12, nan_ok=True)
    nothing = by_scikit_learn(np.zeros(logits.shape), np.zeros_like(true), true)
    assert got["nothing"].tolist() == pytest.approx(nothing, abs=1e-12, nan_ok=True)
    absent = (~true.any(0)).sum()
    assert got["left_out"].tolist() == [0, 0, 0, absent, 0, absent]


def test_agrees_with_torchmetrics():
    logits, targets = case(3, 400, 6, 1)
    got = scores_of(nn.Identity(), [(logits, targets)])["model"]
    f1 = multilabel_f1_score((logits >= 0).long(), targets, 6)
    assert got["macro_f1"] == pytest.approx(f1.item(), abs=1e-6)
    ap = multilabel_average_precision(logits.sigmoid(), targets, 6)
    assert got["macro_ap"] == pytest.approx(ap.item(), abs=1e-6)


def f1(true, predicted, empty):
    count = true.sum() + predicted.sum()
    return 2 * (true & predicted).sum() / count if count else empty


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 5), st.floats(0, 1))
def test_constant_is_the_best_of_all_label_sets(seed, n, k, rate):
    """Every score by brute force over the 2^K sets, one set for all rows."""
    true = case(seed, n, k, rate)[1].numpy() == 1
    present = true.any(0)
    columns = [
        "per_logit_accuracy",
        "exact_match",
        "micro_f1",
        "macro_f1",
        "samples_f1",
    ]
    of_sets = []
    for chosen in itertools.product([False, True], repeat=k):
        said = np.tile(chosen, (n, 1))
        of_labels = [f1(*column, 0) for column in zip(true.T[present], said.T[present])]
        of_sets.append(
            [
                (true == said).mean(),
                (true == said).all(1).mean(),
                f1(true, said, -1),
                np.mean(of_labels) if of_labels else -1,
                np.mean([f1(*row, 1) for row in zip(true, said)]),
            ]
        )
    got = scores_of(nn.Identity(), [(torch.zeros(n, k), torch.from_numpy(true))])
    got = got["constant"][columns].fillna(-1)
    assert got.tolist() == pytest.approx(np.max(of_sets, 0).tolist(), abs=1e-12)


def test_the_best_constants_by_hand():
    """Of ten rows four are {0, 1}, three {1, 2} and three empty; label 3 is absent."""
    rows = [[1, 1, 0, 0]] * 4 + [[0, 1, 1, 0]] * 3 + [[0, 0, 0, 0]] * 3
    targets = torch.tensor(rows)
    got = scores_of(nn.Identity(), [(torch.zeros(10, 4), targets)])
    assert got["constant"].tolist() == pytest.approx(
        [
            (7 + 6 + 7 + 10) / 40,  # label 1
            0.4,  # {0, 1}
            2 * 11 / (14 + 20),  # {0, 1}
            (8 / 14 + 14 / 17 + 6 / 13) / 3,  # all labels
            (4 * 4 / 5 + 3 * 4 / 5) / 10,  # {0, 1, 2}
            (0.4 + 0.7 + 0.3) / 3,
        ]
    )
    assert got["nothing"].tolist() == pytest.approx([26 / 40, 0.3, 0, 0, 0.3, 1.4 / 3])
    assert got["left_out"].tolist() == [0, 0, 0, 1, 0, 1]


def test_no_label_is_true():
    got = scores_of(nn.Identity(), [(torch.zeros(5, 2) - 1, torch.zeros(5, 2))])
    nan = pytest.approx(math.nan, nan_ok=True)
    assert got["model"].tolist() == [1, 1, nan, nan, 1, nan]
    assert got["nothing"].tolist() == [1, 1, nan, nan, 1, nan]
    assert got["constant"].tolist() == [1, 1, 0, nan, 1, nan]
    assert got["left_out"].tolist() == [0, 0, 0, 2, 0, 2]


def test_a_prediction_of_an_absent_label_leaves_macro_f1_alone():
    targets, logits = (
        torch.tensor([[1, 0], [0, 0]]),
        torch.tensor([[1.0, -1], [-1, -1]]),
    )
    for extra in (-1.0, 1.0):
        logits[1, 1] = extra
        got = scores_of(nn.Identity(), [(logits, targets)])
        assert got["model"]["macro_f1"] == 1 and got["left_out"]["macro_f1"] == 1


def test_scores_are_float64():
    targets = torch.eye(10)
    logits = 2 * targets - 1
    logits[3:] *= -1
    got = scores_of(nn.Identity(), [(logits, targets)])["model"]
    assert got["exact_match"] == 0.3 and got["per_logit_accuracy"] == 0.3


@settings(deadline=None, max_examples=30)
@given(cases, st.lists(st.integers(1, 39), max_size=5))
def test_batches_do_not_matter(case, ends):
    ends = sorted({end for end in ends if end < len(case[0])})
    pd.testing.assert_frame_equal(
        scores_of(nn.Identity(), batches(*case, *ends)),
        scores_of(nn.Identity(), [case]),
        check_exact=True,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(5))
def test_the_batch_size_does_not_matter_for_equal_inputs(dtype, seed):
    """Equal rows get logits that differ in the last bits with their place."""
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(25, 64, generator=random, dtype=dtype).repeat(20, 1)
    targets = torch.rand(500, 12, generator=random) < 0.2
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 12)
    model = nn.Sequential(*layers).to(dtype)
    outputs = [
        torch.cat([model(part) for part in inputs.split(size)]).detach()
        for size in (1, 7, 64)
    ]
    assert len(outputs[0][:, 0].unique()) >= 25 and not torch.equal(*outputs[:2])
    # A threshold that is a score: the equal rows are on one side of it, all together.
    threshold = outputs[0][7].sigmoid()
    one, *others = (
        scores_of(model, zip(inputs.split(k), targets.split(k)), threshold=threshold)
        for k in (1, 7, 64)
    )
    for other in others:
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    same = [oracle.average_precision_score(targets, out) for out in outputs]
    assert len(set(same)) > 1  # what the library makes of them


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_counts_as_equal(dtype):
    """Neighbours in order, relative to 1 or to the larger."""
    assert EQUAL == {"float32": 1e-5, "float64": 1e-10}
    near = EQUAL[str(dtype).removeprefix("torch.")]
    targets = torch.tensor([[1], [0]])
    for larger in (0.5, 1000.0, -1000.0):
        step = near * max(1, abs(larger))
        for part, ap in ((0.5, 0.5), (2.0, 1.0)):
            logits = torch.tensor([[larger], [larger - part * step]], dtype=dtype)
            got = scores_of(nn.Identity(), [(logits, targets)])["model"]["macro_ap"]
            assert got == ap
    for part, said in ((0.5, 1.0), (2.0, 0.0)):
        probability = torch.full((1, 1), 0.25 * (1 - part * near), dtype=torch.float64)
        logits = probability.logit().to(dtype)
        got = scores_of(nn.Identity(), [(logits, torch.ones(1, 1))], threshold=0.25)
        assert got["model"]["exact_match"] == said


def test_large_logits_are_not_ties():
    """Their probabilities are: 1 from 37 on in float64."""
    targets = torch.tensor([[1], [0]])
    for high, low in ((60.0, 40.0), (-800.0, -900.0)):
        logits = torch.tensor([[high], [low]], dtype=torch.float64)
        assert scores_of(nn.Identity(), [(logits, targets)])["model"]["macro_ap"] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6))
def test_predicts_as_decide_does(dtype, seed):
    """Also at thresholds that are probabilities of the model itself."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(60, 3, generator=random, dtype=dtype)
    targets = torch.rand(60, 3, generator=random) < 0.4
    targets[0] = True
    p = logits.sigmoid()
    best, f = best_thresholds(p, targets)
    for threshold in (best, best.tolist(), best.numpy()):
        got = scores_of(nn.Identity(), [(logits, targets)], threshold=threshold)
        assert got["model"]["macro_f1"] == f.mean().item()
    at_half = scores_of(nn.Identity(), [(0 * logits, targets)])["model"]["macro_f1"]
    assert at_half == pytest.approx(f_at(0 * p + 0.5, targets, 0.5).mean().item())
    advised = advise(p, targets)["threshold"].to_numpy()
    got = scores_of(nn.Identity(), [(logits, targets)], threshold=advised)["model"]
    want = f_at(p, targets, advised).mean().item()
    assert got["macro_f1"] == pytest.approx(want, abs=1e-12)


@settings(deadline=None, max_examples=12)
@given(cases)
def test_targets_of_any_dtype(case):
    logits, targets = case
    want = scores_of(nn.Identity(), [case])
    for dtype in (torch.bool, torch.float32, torch.uint8):
        got = scores_of(nn.Identity(), [(logits, targets.to(dtype))])
        pd.testing.assert_frame_equal(got, want)
    got = scores_of(nn.Identity(), [[logits, targets.numpy()]])
    pd.testing.assert_frame_equal(got, want)


def test_the_sigmoid_is_always_applied():
    logits = torch.tensor([[0.2, 0.9], [0.4, 0.1]])  # all could be probabilities
    got = scores_of(nn.Identity(), [(logits, torch.ones(2, 2))])
    assert got["model"]["exact_match"] == 1.0


def test_every_mode_is_restored_also_after_an_error():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    model[1].eval()  # a frozen part of a model in training
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    good, bad = (inputs, torch.eye(5, 4)), (inputs, torch.zeros(5, 1))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    # No dropout while evaluating.
    pd.testing.assert_frame_equal(scores_of(model, [good]), scores_of(model, [good]))
    with pytest.raises(ValueError, match="^targets must be "):
        evaluate(model, [bad])
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(
        torch.equal(value, weights[name]) for name, value in model.state_dict().items()
    )


def test_no_gradient_is_kept():
    class Watched(nn.Linear):
        def forward(self, inputs):
            assert not torch.is_grad_enabled()
            return super().forward(inputs)

    evaluate(Watched(3, 4), [(torch.ones(5, 3), torch.zeros(5, 4))])


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
def test_inputs_go_to_the_device_of_the_model(device):
    class Inputs:
        def to(self, where):
            self.where = torch.device(where)
            return torch.zeros(5, 3, device=where)

    inputs, model = Inputs(), nn.Linear(3, 4).to(device)
    evaluate(model, [(inputs, torch.zeros(5, 4))])
    assert inputs.where == next(model.parameters()).device


LOGITS, TARGETS = torch.zeros(6, 3), torch.zeros(6, 3)
SHAPE = "logits must have shape (N, K) with at least one row and one label, got "
ROWS = (
    "targets must be a tensor or NumPy array of 0 and 1, shape (N, K), one column per "
)
ROWS += "label, here (6, 3) as the scores, got "
FLOAT = "logits must be a tensor or NumPy array of float32 or float64, got "


@pytest.mark.parametrize(
    "logits, targets, message",
    [
        (LOGITS[0], TARGETS, SHAPE + "(3,)"),
        (LOGITS[:0], TARGETS[:0], SHAPE + "(0, 3)"),
        (LOGITS.long(), TARGETS, FLOAT + "torch.int64"),
        (LOGITS.half(), TARGETS, FLOAT + "torch.float16"),
        (
            LOGITS + math.nan,
            TARGETS,
            "logits must be finite, got values from nan to nan in shape (6, 3)",
        ),
        (
            LOGITS - math.inf,
            TARGETS,
            "logits must be finite, got values from -inf to -inf in shape (6, 3)",
        ),
        (LOGITS, TARGETS[:, 0].long(), ROWS + "shape (6,)"),
        (LOGITS, TARGETS[:, :2], ROWS + "shape (6, 2)"),
        (LOGITS, TARGETS.tolist(), ROWS + "list"),
        (LOGITS, 0, ROWS + "int"),
        (LOGITS, TARGETS + 0.5, ROWS + "0.5 in shape (6, 3)"),
        (LOGITS, TARGETS.numpy() - 1, ROWS + "-1.0 in shape (6, 3)"),
        (LOGITS, TARGETS.long() + 2, ROWS + "2 in shape (6, 3)"),
        (LOGITS, TARGETS + math.nan, ROWS + "nan in shape (6, 3)"),
    ],
)
def test_bad_batches(logits, targets, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluate(nn.Identity(), [(logits, targets)])


class Returns(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, inputs):
        return self.outputs


@pytest.mark.parametrize(
    "outputs, got",
    [([[0.0]], "list"), ({"logits": LOGITS}, "dict"), (None, "NoneType")],
)
def test_outputs_that_are_no_tensors(outputs, got):
    with pytest.raises(ValueError, match=f"^{FLOAT}{got}$"):
        evaluate(Returns(outputs), [(LOGITS, TARGETS)])


@pytest.mark.parametrize(
    "batch, message",
    [
        (LOGITS, "loader must yield pairs (inputs, targets), got Tensor"),
        (LOGITS[:2], "loader must yield pairs (inputs, targets), got Tensor"),
        ({"x": 1, "y": 2}, "loader must yield pairs (inputs, targets), got dict"),
        ("xy", "loader must yield pairs (inputs, targets), got str"),
        ((LOGITS,), "loader must yield pairs (inputs, targets), got tuple of 1"),
        ([LOGITS] * 3, "loader must yield pairs (inputs, targets), got list of 3"),
        ((LOGITS.numpy(), TARGETS), "inputs must be a tensor, got ndarray"),
        (([[0.0]], TARGETS), "inputs must be a tensor, got list"),
    ],
)
def test_what_is_no_batch(batch, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluate(nn.Identity(), [batch])


def test_a_later_batch_with_other_labels():
    message = "^logits must have as many columns in every batch, got 2 after 3$"
    with pytest.raises(ValueError, match=message):
        evaluate(nn.Identity(), [(LOGITS, TARGETS), (LOGITS[:, :2], TARGETS[:, :2])])


def test_an_empty_loader():
    message = r"^loader must yield at least one batch of \(inputs, targets\), got none$"
    with pytest.raises(ValueError, match=message):
        evaluate(nn.Identity(), [])


def test_a_function_is_no_model():
    message = "^model must be a torch.nn.Module, got builtin_function_or_method$"
    with pytest.raises(ValueError, match=message):
        evaluate(torch.sigmoid, [(LOGITS, TARGETS)])


@pytest.mark.parametrize("threshold", [0, 1, -0.1, math.nan, [0.5, 0.5, 1]])
def test_bad_thresholds(threshold):
    message = "^threshold must be strictly between 0 and 1, got "
    with pytest.raises(ValueError, match=message):
        evaluate(nn.Identity(), [(LOGITS, TARGETS)], threshold=threshold)


def test_thresholds_for_other_labels():
    message = r"^threshold must be one .* of the 3 labels, got shape \(2,\)$"
    with pytest.raises(ValueError, match=message):
        evaluate(nn.Identity(), [(LOGITS, TARGETS)], threshold=[0.5, 0.5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_near_neighbours_are_not_one_tie(dtype):
    """A chain of logits, each next to another, with the larger ones true more often."""
    step = {torch.float32: 2e-6, torch.float64: 2e-11}[dtype]
    scores = 1 + step * torch.arange(20_000).to(torch.float64)
    true = np.random.default_rng(0).random(20_000) < np.linspace(0, 0.5, 20_000)
    batch = (scores[:, None].to(dtype), torch.tensor(true)[:, None])
    found = scores_of(torch.nn.Identity(), [batch]).model["macro_ap"]
    exact = oracle.average_precision_score(true, scores)
    assert found == pytest.approx(exact, abs=1e-3)
    assert found > true.mean() + 0.05


def test_ties_reach_as_far_as_stated():
    ascending = np.array(
        [0, 4e-6, 8e-6, 12e-6, 20e-6, 23e-6, 1, 1 + 9e-6, 500, 500.004]
    )
    groups = [1, 1, 1, 2, 2, 3, 4, 4, 5, 5]
    assert _ranks(ascending, 1e-5).tolist() == groups


# The table of the labels


@settings(deadline=None, max_examples=25)
@given(cases, st.floats(0.05, 0.95))
def test_labels_agree_with_scikit_learn(case, threshold):
    logits, targets = (part.numpy() for part in case)
    got = evaluate_logits(*case, threshold=threshold, resamples=0)
    said = 1 / (1 + np.exp(-logits)) >= threshold
    assert got.labels["support"].tolist() == targets.sum(0).tolist()
    # One more label, that is always true: scikit-learn reads one column as two classes.
    y, p = (np.column_stack([cells, np.ones(len(cells))]) for cells in (targets, said))
    counts = oracle.multilabel_confusion_matrix(y, p)[:-1].reshape(-1, 4)
    found = got.labels[["tn", "fp", "fn", "tp"]].to_numpy()
    assert found.tolist() == counts.tolist()
    precision, recall, f, _ = oracle.precision_recall_fscore_support(
        y, p, zero_division=np.nan
    )
    present = targets.any(0)
    want = pd.DataFrame(
        {
            "prevalence": targets.mean(0),
            "precision": precision[:-1],
            "recall": recall[:-1],
            "f1": np.where(present, f[:-1], np.nan),
            "ap": [
                oracle.average_precision_score(*label) if label[0].any() else np.nan
                for label in zip(targets.T, logits.T)
            ],
            "auc": [
                oracle.roc_auc_score(*label) if 0 < label[0].mean() < 1 else np.nan
                for label in zip(targets.T, logits.T)
            ],
        },
        index=pd.RangeIndex(targets.shape[1], name="label"),
    )
    pd.testing.assert_frame_equal(got.labels[list(want)], want, rtol=0, atol=1e-12)
    for mean, column in [("macro_f1", "f1"), ("macro_ap", "ap")]:
        macro = pytest.approx(got.scores.model[mean], abs=1e-12, nan_ok=True)
        assert got.labels[column].mean() == macro


def test_labels_agree_with_torchmetrics():
    logits, targets = case(5, 400, 6, 1)
    got = evaluate_logits(logits, targets).labels
    counts = multilabel_stat_scores((logits >= 0).long(), targets, 6, average=None)
    columns = ["tp", "fp", "tn", "fn", "support"]
    assert got[columns].to_numpy().tolist() == counts.tolist()
    auc = multilabel_auroc(logits.sigmoid(), targets, 6, average=None)
    assert got["auc"].tolist() == pytest.approx(auc.tolist(), abs=1e-6)


def test_columns_and_names():
    got = evaluate_logits(LOGITS, TARGETS, names=["dog", "cat", "sheep"])
    assert list(got.scores) == [
        "model",
        "low",
        "high",
        "nothing",
        "constant",
        "left_out",
    ]
    assert (
        list(got.labels)
        == (
            "tp fp fn tn support prevalence precision recall f1 f1_low f1_high ap auc"
        ).split()
    )
    assert got.labels.index.tolist() == ["dog", "cat", "sheep"]
    assert got.labels.index.name == "label"
    without = evaluate_logits(LOGITS, TARGETS, resamples=0)
    assert list(without.scores) == ["model", "nothing", "constant", "left_out"]
    assert list(without.labels) == [
        name for name in got.labels if name not in ("f1_low", "f1_high")
    ]
    assert without.labels.index.tolist() == [0, 1, 2]


@settings(deadline=None, max_examples=5)
@given(cases)
def test_a_loader_and_logits_take_the_same_path(case):
    logits, targets = case
    options = {"threshold": 0.3, "seed": 4, "resamples": 100}
    options["groups"] = np.arange(len(logits)) % 2 if len(logits) > 1 else None
    options["names"] = [f"label {label}" for label in range(logits.shape[1])]
    middle = len(logits) // 2
    loader = batches(*case, *[middle] * (middle > 0))
    by_loader = evaluate(nn.Identity(), loader, **options)
    for given_as in (case, (logits.numpy(), targets.bool().numpy())):
        got = evaluate_logits(*given_as, **options)
        for frame in ("scores", "labels"):
            pd.testing.assert_frame_equal(
                getattr(got, frame), getattr(by_loader, frame), check_exact=True
            )


# Intervals


def drawn_rows(group, resamples, seed, labels):
    """The rows of each resample, as many times as it holds them."""
    for weights in metrics._draws(np.asarray(group), resamples, seed, labels):
        for resample in weights.T:
            yield np.repeat(np.arange(len(resample)), resample.astype(int))


def ends(values):
    """The middle 95 % of what is not nan."""
    values = np.array([value for value in values if not math.isnan(value)])
    return np.percentile(values, [2.5, 97.5]) if len(values) else [math.nan] * 2


def corrected(value, values):
    """The ends at other levels, so that half of the values would lie below `value`."""
    values = np.array([found for found in values if not math.isnan(found)])
    if not len(values):
        return [math.nan] * 2
    apart = np.where(np.isclose(values, value, atol=1e-12, rtol=0), 0, values - value)
    below = ((apart < 0).sum() + (apart == 0).sum() / 2) / len(values)
    normal = NormalDist()
    few = 1 / (2 * len(values))
    shift = normal.inv_cdf(min(max(below, few), 1 - few))
    levels = [normal.cdf(2 * shift + normal.inv_cdf(tail)) for tail in (0.025, 0.975)]
    return np.percentile(values, [100 * level for level in levels]).tolist()


def four_ways(true, said, beta):
    """F-beta micro, macro and samples, and exact match, of drawn rows."""
    f = partial(oracle.fbeta_score, true, said, beta=beta)
    some = np.flatnonzero(true.any(0))
    macro = f(labels=some, average="macro", zero_division=0) if len(some) else math.nan
    return [
        f(average="micro", zero_division=np.nan),
        macro,
        f(average="samples", zero_division=1.0),
        (true == said).all(1).mean(),
    ]


@settings(deadline=None, max_examples=4)
@given(
    st.integers(0, 10**6),
    st.integers(4, 12),
    st.integers(2, 5),
    st.floats(0, 1),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.booleans(),
)
def test_f_of_resamples_by_scikit_learn(seed, n, k, rate, beta, grouped):
    """Of one model and of the difference between two, by rows and by groups."""
    logits, targets = (part.numpy() for part in case(seed, n, k, rate))
    one, other, true = logits > 0, logits > 1, targets == 1
    groups = np.arange(n) % 3 if grouped else None
    options = {"groups": groups, "beta": beta, "resamples": 100, "seed": seed}
    rows = list(drawn_rows(np.arange(n) if groups is None else groups, 100, seed, k))
    of_one = [four_ways(true[drawn], one[drawn], beta) for drawn in rows]
    of_both = np.subtract(
        of_one, [four_ways(true[drawn], other[drawn], beta) for drawn in rows]
    )
    whole = four_ways(true, one, beta)
    for got, resampled, value in [
        (bootstrap_f(one, targets, **options), of_one, whole),
        (
            bootstrap_f(one, targets, than=other, **options),
            of_both,
            np.subtract(whole, four_ways(true, other, beta)),
        ),
    ]:
        assert got.index.tolist() == ["micro", "macro", "samples", "exact"]
        for interval, values, estimate in zip(got, np.transpose(resampled), value):
            found = [interval.value, interval.low, interval.high]
            want = pytest.approx([estimate, *ends(values)], abs=1e-9, nan_ok=True)
            assert found == want


@settings(deadline=None, max_examples=10)
@given(cases, st.booleans())
def test_scores_of_resamples_by_brute_force(case, grouped):
    logits, targets = (part.numpy() for part in case)
    n, k = logits.shape
    grouped = grouped and n > 4
    groups = np.arange(n) // 3 if grouped else np.arange(n)
    got = evaluate_logits(
        *case, groups=groups if grouped else None, resamples=100, seed=n
    )
    said, true = logits >= 0, targets == 1
    scores, labels = [], []
    for rows in drawn_rows(groups, 100, n, k):
        y, p, z = true[rows], said[rows], logits[rows]
        of_labels = [f1(a, b, 0) if a.any() else math.nan for a, b in zip(y.T, p.T)]
        ap = [oracle.average_precision_score(a, b) for a, b in zip(y.T, z.T) if a.any()]
        labels.append(of_labels)
        scores.append(
            [
                (y == p).mean(),
                (y == p).all(1).mean(),
                f1(y, p, math.nan),
                pd.Series(of_labels).mean(),
                np.mean([f1(a, b, 1) for a, b in zip(y, p)]),
                np.mean(ap) if ap else math.nan,
            ]
        )
    ap = [row.pop() for row in scores]
    low, high = got.scores.loc["macro_ap", ["low", "high"]]
    want = pytest.approx(corrected(got.scores.model["macro_ap"], ap), nan_ok=True)
    assert [low, high] == want
    for found, resampled in [
        (got.scores[["low", "high"]].iloc[:-1], scores),
        (got.labels[["f1_low", "f1_high"]], labels),
    ]:
        want = np.array([ends(values) for values in np.transpose(resampled)])
        np.testing.assert_allclose(found.to_numpy(), want, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(cases, st.integers(1, 3))
def test_average_precision_of_weights_by_scikit_learn(case, copies):
    logits, targets = (part.numpy() for part in case)
    random = np.random.default_rng(len(logits))
    weights = random.poisson(1, (len(logits), copies)).astype(np.float32)
    for scores, true in zip(logits.T, targets.T == 1):
        ranking, _ = metrics._ranking(scores, true, 1e-10)
        got = metrics._average_precision(*ranking, weights)
        want = [
            oracle.average_precision_score(true, scores, sample_weight=weight)
            if weight[true].sum()
            else math.nan
            for weight in weights.T
        ]
        assert got.tolist() == pytest.approx(want, abs=1e-12, nan_ok=True)


def sets(seed, n=60, k=4):
    """Two models' label sets, and the targets."""
    logits, targets = case(seed, n, k, 1)
    return logits > 0, logits > 1, targets


def test_rows_that_come_together_count_once():
    """Each row three times, in groups: the intervals are those of the rows alone."""
    one, other, true = sets(0)
    alone = bootstrap_f(one, true, than=other)
    groups = [f"video {row}" for row in range(60)] * 3
    tripled = [torch.cat([part] * 3) for part in (one, true, other)]
    together = bootstrap_f(*tripled[:2], than=tripled[2], groups=groups)
    for a, b in zip(alone, together):
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=1e-12)
    apart = bootstrap_f(*tripled[:2], than=tripled[2])
    for a, b in zip(alone, apart):
        assert b.high - b.low < 0.8 * (a.high - a.low)
    logits, targets = case(0, 60, 4, 1)
    alone = evaluate_logits(logits, targets)
    together = evaluate_logits(
        torch.cat([logits] * 3), torch.cat([targets] * 3), groups=groups
    )
    pd.testing.assert_frame_equal(alone.scores, together.scores, rtol=0, atol=1e-12)
    ends = ["f1_low", "f1_high"]
    pd.testing.assert_frame_equal(alone.labels[ends], together.labels[ends])


def test_groups_need_no_order_and_any_values():
    one, _, true = sets(1)
    numbers = np.arange(60) // 7
    by_number = bootstrap_f(one, true, groups=numbers)
    for groups in (
        [f"image {number}" for number in numbers],
        torch.tensor(numbers) - 100,
        pd.Series(numbers, index=numbers).astype("category"),
    ):
        assert bootstrap_f(one, true, groups=groups).equals(by_number)
    rows = np.concatenate([np.arange(start, 60, 7) for start in range(7)])
    # The groups still appear in the same order, and only their rows lie apart.
    assert (
        bootstrap_f(one[rows], true[rows], groups=numbers[rows])["micro"]
        == by_number["micro"]
    )


def test_the_order_of_the_rows_changes_nothing_but_the_draw():
    logits, targets = case(2, 300, 5, 1)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    a = evaluate_logits(logits, targets)
    b = evaluate_logits(logits[order], targets[order])
    drawn = ["low", "high"]
    pd.testing.assert_frame_equal(
        a.scores.drop(columns=drawn), b.scores.drop(columns=drawn), rtol=0, atol=1e-12
    )
    assert not a.scores[drawn].equals(b.scores[drawn])
    assert (a.scores[drawn] - b.scores[drawn]).abs().max(axis=None) < 0.02


def test_two_models_are_resampled_together():
    one, other, true = sets(3, n=200)
    gain = bootstrap_f(one, true, than=other)
    loss = bootstrap_f(other, true, than=one)
    of_each = [bootstrap_f(model, true) for model in (one, other)]
    for name in gain.index:
        assert isinstance(gain[name], Interval)
        assert loss[name].low == pytest.approx(-gain[name].high, abs=1e-12)
        assert loss[name].value == -gain[name].value
        # Pairing removes what both share.
        widths = [model[name].high - model[name].low for model in of_each]
        assert gain[name].high - gain[name].low < 0.9 * math.hypot(*widths)
    for interval in bootstrap_f(one, true, than=one):
        assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_seeds():
    logits, targets = case(4, 50, 3, 1)
    one = logits > 0
    numpy_before, torch_before = np.random.get_state(), torch.random.get_rng_state()
    first = evaluate_logits(logits, targets, seed=7)
    again = evaluate_logits(logits, targets, seed=np.int64(7))
    other = evaluate_logits(logits, targets, seed=8)
    assert first.scores.equals(again.scores) and first.labels.equals(again.labels)
    assert not first.scores.equals(other.scores)
    assert bootstrap_f(one, targets, seed=7).equals(bootstrap_f(one, targets, seed=7))
    assert not bootstrap_f(one, targets).equals(bootstrap_f(one, targets, seed=7))
    assert str(np.random.get_state()) == str(numpy_before)
    assert torch.equal(torch.random.get_rng_state(), torch_before)


def test_the_size_of_the_blocks_does_not_matter(monkeypatch):
    logits, targets = case(5, 90, 5, 1)
    whole = evaluate_logits(logits, targets)
    monkeypatch.setattr(metrics, "BLOCK", 1000)
    monkeypatch.setattr(metrics, "CHUNK", 7)
    parts = evaluate_logits(logits, targets)
    pd.testing.assert_frame_equal(whole.scores, parts.scores, rtol=0, atol=1e-12)
    pd.testing.assert_frame_equal(whole.labels, parts.labels, rtol=0, atol=1e-12)


def test_intervals_where_a_label_or_all_are_never_true():
    targets = torch.tensor([[1, 0], [0, 0], [0, 0]])
    got = bootstrap_f(targets, targets)
    # Without the first row nothing is true or predicted, and micro and macro are left
    # out; samples and exact count rightly empty rows.
    assert [str(interval) for interval in got] == ["1 [1, 1]"] * 4
    logits = 2.0 * targets - 1
    assert evaluate_logits(logits, targets).labels["f1_low"].tolist()[0] == 1
    assert math.isnan(evaluate_logits(logits, targets).labels["f1_low"][1])
    nothing = bootstrap_f(targets, 0 * targets)
    assert math.isnan(nothing["macro"].value) and math.isnan(nothing["macro"].low)
    assert nothing["micro"].value == 0 and nothing["exact"].value == 2 / 3
    empty = bootstrap_f(0 * targets, 0 * targets)
    assert math.isnan(empty["micro"].high) and empty["samples"].low == 1


def coverage(groups, resampled_by):
    """How often the interval holds the F that infinitely many rows would have.

    Rows with three labels, in groups of equal rows, 40 data sets' worth at once.
    """
    random, rows = np.random.default_rng(0), 200
    # True with probability .3; predicted with .7 where true, .2 elsewhere.
    truth = 2 * 0.3 * 0.7 / (0.3 + 0.3 * 0.7 + 0.7 * 0.2)
    held = []
    for seed in range(200):
        true = random.random((groups, 3)) < 0.3
        said = random.random((groups, 3)) < np.where(true, 0.7, 0.2)
        true, said = (
            np.repeat(cells, rows // groups, axis=0) for cells in (true, said)
        )
        got = bootstrap_f(said, true, groups=resampled_by, resamples=200, seed=seed)
        held.append(
            [got[name].low <= truth <= got[name].high for name in ("micro", "macro")]
        )
    return np.mean(held, 0)


def test_coverage():
    assert (abs(coverage(200, None) - 0.94) < 0.04).all()
    # Rows that are not independent: as if there were more than there are.
    assert (coverage(40, None) < 0.75).all()
    assert (coverage(40, np.arange(200) // 5) > 0.87).all()


def test_coverage_of_average_precision():
    """Of scores that say nothing it is the prevalence."""
    random, held = np.random.default_rng(0), []
    for seed in range(200):
        logits, targets = random.normal(size=(200, 3)), random.random((200, 3)) < 0.1
        got = evaluate_logits(logits, targets, resamples=200, seed=seed).scores
        held.append(got.low["macro_ap"] <= 0.1 <= got.high["macro_ap"])
    assert np.mean(held) > 0.85  # without the correction it is 0.7


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"names": ["a", "b"]},
            "names must be 3 different names, one for each label, got 2",
        ),
        (
            {"names": ["a", "b", "a"]},
            "names must be 3 different names, .* 2 of them different",
        ),
        (
            {"groups": [0, 1]},
            r"groups must have one entry for each of the 6 rows, got shape \(2,\)",
        ),
        (
            {"groups": np.zeros((6, 1))},
            r"groups must have one entry .* got shape \(6, 1\)",
        ),
        (
            {"groups": [1] * 6},
            "groups must hold at least two different values .* got 1 and 0 missing",
        ),
        ({"groups": [1, 2, None] * 2}, "groups must hold .* got 2 and 2 missing"),
        ({"groups": [1, 2, math.nan] * 2}, "groups must hold .* got 2 and 2 missing"),
        ({"resamples": 99}, "resamples must be at least 100"),
        ({"resamples": 1}, "resamples must be at least 100"),
        ({"resamples": -1}, "resamples must be an integer of at least 0, got -1"),
        ({"resamples": 200.0}, "resamples must be an integer of at least 0, got 200.0"),
        ({"resamples": True}, "resamples must be an integer of at least 0, got True"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"seed": 0.5}, "seed must be an integer of at least 0, got 0.5"),
        ({"seed": None}, "seed must be an integer of at least 0, got None"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        evaluate(nn.Identity(), [(LOGITS, TARGETS)], **options)
    with pytest.raises(ValueError, match=f"^{message}"):
        evaluate_logits(LOGITS, TARGETS, **options)
    if "names" not in options:
        with pytest.raises(ValueError, match=f"^{message}"):
            bootstrap_f(TARGETS, TARGETS, **options)


def test_bad_options_are_refused_before_the_model_runs():
    class Forbidden(nn.Module):
        def forward(self, inputs):
            raise AssertionError

    for options in ({"seed": -1}, {"resamples": 5}):
        with pytest.raises(ValueError):
            evaluate(Forbidden(), [(LOGITS, TARGETS)], **options)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"predicted": TARGETS[:, :2]},
            r"predicted must have shape \(6, 3\), got \(6, 2\)",
        ),
        ({"predicted": TARGETS + 0.5}, "predicted must hold 0 and 1"),
        ({"predicted": TARGETS + math.nan}, "predicted must hold 0 and 1"),
        ({"than": TARGETS[0]}, r"than must have shape \(6, 3\), got \(3,\)"),
        ({"than": TARGETS - 1}, "than must hold 0 and 1"),
        ({"targets": TARGETS - 1}, "targets must be "),
        ({"beta": 0}, "beta must be one number, positive and finite, got 0"),
        ({"resamples": 0}, "resamples must be at least 100, got 0"),
    ],
)
def test_bad_label_sets(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        bootstrap_f(**{"predicted": TARGETS, "targets": TARGETS} | arguments)
