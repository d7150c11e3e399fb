import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as oracle
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.functional.classification import (
    multilabel_average_precision,
    multilabel_f1_score,
)

from helpers.decide import advise, best_thresholds, f_at
from helpers.metrics import EQUAL, _ranks, evaluate


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
    got = evaluate(nn.Identity(), [case], threshold=threshold)
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
    got = evaluate(nn.Identity(), [(logits, targets)])["model"]
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
    got = evaluate(nn.Identity(), [(torch.zeros(n, k), torch.from_numpy(true))])
    got = got["constant"][columns].fillna(-1)
    assert got.tolist() == pytest.approx(np.max(of_sets, 0).tolist(), abs=1e-12)


def test_the_best_constants_by_hand():
    """Of ten rows four are {0, 1}, three {1, 2} and three empty; label 3 is absent."""
    rows = [[1, 1, 0, 0]] * 4 + [[0, 1, 1, 0]] * 3 + [[0, 0, 0, 0]] * 3
    targets = torch.tensor(rows)
    got = evaluate(nn.Identity(), [(torch.zeros(10, 4), targets)])
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
    got = evaluate(nn.Identity(), [(torch.zeros(5, 2) - 1, torch.zeros(5, 2))])
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
        got = evaluate(nn.Identity(), [(logits, targets)])
        assert got["model"]["macro_f1"] == 1 and got["left_out"]["macro_f1"] == 1


def test_scores_are_float64():
    targets = torch.eye(10)
    logits = 2 * targets - 1
    logits[3:] *= -1
    got = evaluate(nn.Identity(), [(logits, targets)])["model"]
    assert got["exact_match"] == 0.3 and got["per_logit_accuracy"] == 0.3


@settings(deadline=None, max_examples=30)
@given(cases, st.lists(st.integers(1, 39), max_size=5))
def test_batches_do_not_matter(case, ends):
    ends = sorted({end for end in ends if end < len(case[0])})
    pd.testing.assert_frame_equal(
        evaluate(nn.Identity(), batches(*case, *ends)),
        evaluate(nn.Identity(), [case]),
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
        evaluate(model, zip(inputs.split(k), targets.split(k)), threshold=threshold)
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
            got = evaluate(nn.Identity(), [(logits, targets)])["model"]["macro_ap"]
            assert got == ap
    for part, said in ((0.5, 1.0), (2.0, 0.0)):
        probability = torch.full((1, 1), 0.25 * (1 - part * near), dtype=torch.float64)
        logits = probability.logit().to(dtype)
        got = evaluate(nn.Identity(), [(logits, torch.ones(1, 1))], threshold=0.25)
        assert got["model"]["exact_match"] == said


def test_large_logits_are_not_ties():
    """Their probabilities are: 1 from 37 on in float64."""
    targets = torch.tensor([[1], [0]])
    for high, low in ((60.0, 40.0), (-800.0, -900.0)):
        logits = torch.tensor([[high], [low]], dtype=torch.float64)
        assert evaluate(nn.Identity(), [(logits, targets)])["model"]["macro_ap"] == 1


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
        got = evaluate(nn.Identity(), [(logits, targets)], threshold=threshold)
        assert got["model"]["macro_f1"] == f.mean().item()
    at_half = evaluate(nn.Identity(), [(0 * logits, targets)])["model"]["macro_f1"]
    assert at_half == pytest.approx(f_at(0 * p + 0.5, targets, 0.5).mean().item())
    advised = advise(p, targets)["threshold"].to_numpy()
    got = evaluate(nn.Identity(), [(logits, targets)], threshold=advised)["model"]
    want = f_at(p, targets, advised).mean().item()
    assert got["macro_f1"] == pytest.approx(want, abs=1e-12)


@settings(deadline=None, max_examples=12)
@given(cases)
def test_targets_of_any_dtype(case):
    logits, targets = case
    want = evaluate(nn.Identity(), [case])
    for dtype in (torch.bool, torch.float32, torch.uint8):
        got = evaluate(nn.Identity(), [(logits, targets.to(dtype))])
        pd.testing.assert_frame_equal(got, want)
    got = evaluate(nn.Identity(), [[logits, targets.numpy()]])
    pd.testing.assert_frame_equal(got, want)


def test_the_sigmoid_is_always_applied():
    logits = torch.tensor([[0.2, 0.9], [0.4, 0.1]])  # all could be probabilities
    got = evaluate(nn.Identity(), [(logits, torch.ones(2, 2))])
    assert got["model"]["exact_match"] == 1.0


def test_every_mode_is_restored_also_after_an_error():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    model[1].eval()  # a frozen part of a model in training
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    good, bad = (inputs, torch.eye(5, 4)), (inputs, torch.zeros(5, 1))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    # No dropout while evaluating.
    pd.testing.assert_frame_equal(evaluate(model, [good]), evaluate(model, [good]))
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
    found = evaluate(torch.nn.Identity(), [batch]).model["macro_ap"]
    exact = oracle.average_precision_score(true, scores)
    assert found == pytest.approx(exact, abs=1e-3)
    assert found > true.mean() + 0.05


def test_ties_reach_as_far_as_stated():
    ascending = np.array(
        [0, 4e-6, 8e-6, 12e-6, 20e-6, 23e-6, 1, 1 + 9e-6, 500, 500.004]
    )
    groups = [1, 1, 1, 2, 2, 3, 4, 4, 5, 5]
    assert _ranks(ascending, 1e-5).tolist() == groups
