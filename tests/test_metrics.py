import math

import numpy as np
import pytest
import sklearn.metrics as oracle
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.functional.classification import (
    multilabel_accuracy,
    multilabel_f1_score,
)

from helpers.metrics import evaluate


def case(seed, n, k, rate):
    """Logits with ties and exact zeros (probability 0.5), targets with absent labels and empty rows."""
    random = np.random.default_rng(seed)
    logits = random.integers(-6, 7, (n, k)) / 2
    targets = (random.random((n, k)) < rate * random.random(k)).astype(int)
    return torch.from_numpy(logits), torch.from_numpy(targets)


cases = st.builds(
    case, st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 8), st.floats(0, 1)
)


def batches(logits, targets, *cuts):
    return list(
        zip(torch.tensor_split(logits, cuts), torch.tensor_split(targets, cuts))
    )


@settings(deadline=None, max_examples=60)
@given(cases, st.floats(0.05, 0.95))
def test_agrees_with_scikit_learn_and_torchmetrics(case, threshold):
    logits, targets = case
    got = evaluate(nn.Identity(), [case], threshold=threshold)
    probabilities = logits.sigmoid()
    p, y = (probabilities > threshold).long().numpy(), targets.numpy()
    present, used = y.any(0), (y | p).any(0)
    want = {
        "per_logit_accuracy": 1 - oracle.hamming_loss(y, p),
        "per_logit_accuracy_of_predicting_nothing": 1 - y.mean(),
        "exact_match": oracle.accuracy_score(y, p),
        "samples_f1": oracle.f1_score(y, p, average="samples", zero_division=1.0),
        "micro_f1": oracle.f1_score(y, p, average="micro", zero_division=np.nan),
        "macro_f1": oracle.f1_score(y, p, average=None, zero_division=np.nan)[
            used
        ].mean()
        if used.any()
        else math.nan,
        "macro_ap": oracle.average_precision_score(
            y[:, present], probabilities[:, present]
        )
        if present.any()
        else math.nan,
        "labels_left_out_of_macro_f1": (~used).sum(),
        "labels_left_out_of_macro_ap": (~present).sum(),
    }
    assert got == pytest.approx(want, abs=2e-7, nan_ok=True)
    assert {type(value) for value in got.values()} == {float, int}
    settings = {"num_labels": logits.shape[1], "threshold": threshold}
    assert got["per_logit_accuracy"] == pytest.approx(
        multilabel_accuracy(probabilities, targets, **settings).item(), abs=1e-6
    )
    if used.all():
        assert got["macro_f1"] == pytest.approx(
            multilabel_f1_score(probabilities, targets, **settings).item(), abs=1e-6
        )


@settings(deadline=None, max_examples=40)
@given(cases, st.lists(st.integers(1, 39), max_size=5))
def test_batches_do_not_matter(case, cuts):
    cuts = sorted({cut for cut in cuts if cut < len(case[0])})
    assert evaluate(nn.Identity(), batches(*case, *cuts)) == pytest.approx(
        evaluate(nn.Identity(), [case]), abs=1e-12, nan_ok=True
    )


@settings(deadline=None, max_examples=20)
@given(cases)
def test_targets_of_any_dtype(case):
    logits, targets = case
    want = evaluate(nn.Identity(), [case])
    for dtype in (torch.bool, torch.float32, torch.uint8):
        assert evaluate(nn.Identity(), [(logits, targets.to(dtype))]) == pytest.approx(
            want, abs=0, nan_ok=True
        )


def test_the_sigmoid_is_always_applied():
    logits = torch.tensor(
        [[0.2, 0.9], [0.4, 0.1]]
    )  # all of them could be read as probabilities
    assert evaluate(nn.Identity(), [(logits, torch.ones(2, 2))])["exact_match"] == 1.0


def test_float32_logits_keep_their_order():
    logits = torch.tensor(
        [[30.0, 0.0], [29.0, 0.0]]
    )  # both have probability 1 in float32
    assert (
        evaluate(nn.Identity(), [(logits, torch.tensor([[1, 1], [0, 1]]))])["macro_ap"]
        == 1.0
    )


def test_every_mode_is_restored_also_after_an_error():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    model[1].eval()  # a frozen part of a model in training
    good, bad = (
        (torch.randn(5, 3), torch.eye(5, 4)),
        (torch.randn(5, 3), torch.zeros(5, 1)),
    )
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    assert evaluate(model, [good]) == evaluate(
        model, [good]
    )  # no dropout while evaluating
    with pytest.raises(ValueError):
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

    evaluate(Watched(3, 4), [(torch.randn(5, 3), torch.zeros(5, 4))])


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


@pytest.mark.parametrize(
    "logits, targets, message",
    [
        (LOGITS[0], TARGETS, r"logits must have shape \(B, K\).*got \(3,\)"),
        (LOGITS[:0], TARGETS[:0], r"logits must have shape.*got \(0, 3\)"),
        (LOGITS[:, :1], TARGETS[:, :1], r"logits must have shape.*got \(6, 1\)"),
        (
            LOGITS.long(),
            TARGETS,
            r"logits must be floating-point.*int64, shape \(6, 3\)",
        ),
        (
            LOGITS + math.nan,
            TARGETS,
            r"logits must be floating-point numbers without NaN.*shape \(6, 3\)",
        ),
        (
            LOGITS,
            TARGETS[:, 0].long(),
            r"targets must be rows of 0 and 1, one column per label.*\(6, 3\), got shape \(6,\)",
        ),
        (LOGITS, TARGETS[:, :2], r"targets must be rows.*\(6, 3\), got shape \(6, 2\)"),
        (
            LOGITS,
            TARGETS + 0.5,
            r"targets must be rows of 0 and 1.*got 0.5 in shape \(6, 3\)",
        ),
        (LOGITS, TARGETS - 1, r"targets must be rows of 0 and 1.*got -1.0 in"),
        (LOGITS, TARGETS + 2, r"targets must be rows of 0 and 1.*got 2.0 in"),
        (LOGITS, TARGETS + math.nan, r"targets must be rows of 0 and 1.*got nan in"),
    ],
)
def test_bad_batches(logits, targets, message):
    with pytest.raises(ValueError, match=message):
        evaluate(nn.Identity(), [(logits, targets)])


def test_a_later_batch_with_other_labels():
    with pytest.raises(
        ValueError, match="equal to the number of labels but got 2 and expected 3"
    ):
        evaluate(nn.Identity(), [(LOGITS, TARGETS), (LOGITS[:, :2], TARGETS[:, :2])])


def test_an_empty_loader():
    with pytest.raises(ValueError, match="loader must yield at least one batch"):
        evaluate(nn.Identity(), [])


@pytest.mark.parametrize("threshold", [0, 1, -0.1, 2.0, math.nan])
def test_bad_thresholds(threshold):
    with pytest.raises(
        ValueError, match="threshold must be a probability strictly between 0 and 1"
    ):
        evaluate(nn.Identity(), [(LOGITS, TARGETS)], threshold=threshold)
