import re

import numpy as np
import pytest
import torch

from helpers.checks import check_scores, check_targets, check_threshold, to_numpy

# What both modules refuse is in the tests of `decide` and `metrics`.


@pytest.mark.parametrize(
    "given", [0.3, np.float32(0.25), torch.tensor(0.3, dtype=torch.float64), 1e-300]
)
def test_one_threshold_for_all_labels(given):
    thresholds = check_threshold(given, 3, 0, 1)
    assert thresholds.dtype == np.float64 and thresholds.tolist() == [float(given)] * 3


def test_one_threshold_for_each_label():
    for kind in (list, tuple, np.array, torch.tensor):
        assert check_threshold(kind([0.5, 0.25]), 2, 0, 1).tolist() == [0.5, 0.25]
    assert check_threshold([-3, 4], 2).tolist() == [-3, 4]


@pytest.mark.parametrize(
    "given, got",
    [
        (0, "strictly between 0 and 1, got 0"),
        (1.0, "strictly between 0 and 1, got 1.0"),
        ([0.5, -0.1, 2.0], "strictly between 0 and 1, got -0.1"),
        (np.nan, "strictly between 0 and 1, got nan"),
        ([0.5, 0.5], "one number or one for each of the 3 labels, got shape (2,)"),
        ([[0.5] * 3], "one number or one for each of the 3 labels, got shape (1, 3)"),
        ([0.5], "one number or one for each of the 3 labels, got shape (1,)"),
        ("0.5", "one number or one for each of the 3 labels, got '0.5' (str)"),
        (None, "one number or one for each of the 3 labels, got None (NoneType)"),
        (True, "one number or one for each of the 3 labels, got True (bool)"),
        ({0: 1}, "one number or one for each of the 3 labels, got {0: 1} (dict)"),
        (
            [0.5, [1]],
            "one number or one for each of the 3 labels, got [0.5, [1]] (list)",
        ),
    ],
)
def test_bad_thresholds(given, got):
    with pytest.raises(ValueError, match=f"^threshold must be {re.escape(got)}$"):
        check_threshold(given, 3, 0, 1)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_thresholds_of_scores_are_finite(value):
    with pytest.raises(ValueError, match=f"^threshold must be finite, got {value}$"):
        check_threshold([value, 0.5], 2)


def test_what_is_right_comes_back_as_it_is():
    scores = np.array([[0.0, 1.0]])
    assert check_scores("p", scores, 0, 1) is scores
    assert to_numpy(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
    for dtype in (bool, np.uint8, np.float16, object):
        true = check_targets(np.array([[0, 1]]).astype(dtype), (1, 2))
        assert true.dtype == bool and true.tolist() == [[False, True]]


@pytest.mark.parametrize("outside", [-1e-9, 1 + 1e-9])
def test_scores_outside_their_range(outside):
    with pytest.raises(ValueError, match="^p must be probabilities from 0 to 1, got"):
        check_scores("p", np.array([[0.5, outside]]), 0, 1)
