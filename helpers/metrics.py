"""Metrics: one safe pass over a data loader, and each score beside what no model has.

Many of its lines answer a mistake that the chapter "Two multi-label evaluation
functions" runs and repairs.
"""

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from sklearn.metrics import average_precision_score

from helpers.checks import check_scores, check_targets, check_threshold
from helpers.decide import f_beta

# Numbers closer than this, relative to the larger or to 1, count as equal.
EQUAL = {"float32": 1e-5, "float64": 1e-10}
SCORES = ["per_logit_accuracy", "exact_match", "micro_f1", "macro_f1", "samples_f1"]


def evaluate(model, loader, *, threshold=0.5) -> pd.DataFrame:
    """Multi-label scores of `model` over all batches of `loader`: one row per score.

    model: a torch.nn.Module that gives logits (B, K), float32 or float64, finite. It
        must not apply a sigmoid itself: nobody can tell probabilities from logits.
    loader: yields pairs (inputs, targets); targets (B, K) hold 1 where a label is true
        and 0 elsewhere, in any dtype. Unknown cells, such as -1, are refused.
    threshold: a label is predicted where its probability >= this, strictly between 0
        and 1: one number, or one for each label.

    Rows: per_logit_accuracy, exact_match, micro_f1, macro_f1, samples_f1 and macro_ap,
    the average precision of the logits. Columns: model; nothing, the score of
    predicting no label; constant, the best score that any one label set for all rows
    has on these targets; left_out, how many labels a mean over labels leaves out, those
    that are never true. In samples_f1 a rightly empty prediction counts as 1. nan where
    nothing is left.

    The batch size does not matter, though a row's place in its batch changes the last
    digits of its logits: logits within 1e-5 (float32) or 1e-10 (float64) of the
    smallest of them, relative to its size or to 1, are ties; and a probability that
    misses its threshold by no more than such a part reaches it.
    The model runs on its own device, in eval mode, and every module gets its old mode
    back. The logits stay on the CPU until the end, 4 or 8 bytes per image and label.
    Raises ValueError for any other model, batch, logits, targets or threshold, and an
    empty loader.
    """
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    device = next((parameter.device for parameter in model.parameters()), "cpu")
    modes = {module: module.training for module in model.modules()}
    logits, true = [], []
    model.eval()
    try:
        # A loader draws from torch's shared generator, even where it does not shuffle.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for batch in loader:
                inputs, targets = _pair(batch)
                logits.append(check_scores("logits", model(inputs.to(device))))
                true.append(check_targets(targets, logits[-1].shape))
                labels = logits[0].shape[1]
                if logits[-1].shape[1] != labels:
                    raise ValueError(
                        "logits must have as many columns in every batch, "
                        f"got {logits[-1].shape[1]} after {labels}"
                    )
                thresholds = check_threshold(threshold, labels, 0, 1)
    finally:
        for module, training in modes.items():
            module.training = training
    if not logits:
        raise ValueError(
            "loader must yield at least one batch of (inputs, targets), got none"
        )
    logits, true = np.concatenate(logits), np.concatenate(true)
    equal = EQUAL[logits.dtype.name]
    predicted = np.empty_like(true)
    for label, (scores, enough) in enumerate(zip(logits.T, thresholds * (1 - equal))):
        predicted[:, label] = expit(scores.astype(float)) >= enough
    present = np.flatnonzero(true.any(0))
    of_model = _scores(predicted, true, present)
    precision = [_average_precision(logits[:, k], true[:, k], equal) for k in present]
    constant = _of_constants(true, present)
    chance = _mean(true.mean(0)[present])
    table = pd.DataFrame(
        {
            "model": [*of_model, _mean(precision)],
            "nothing": [*_scores(np.zeros_like(true), true, present), chance],
            "constant": [*constant, chance],
            "left_out": 0,
        },
        index=pd.Index([*SCORES, "macro_ap"], name="score"),
    )
    table.loc[["macro_f1", "macro_ap"], "left_out"] = labels - len(present)
    return table


def _pair(batch):
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise ValueError(
            "loader must yield pairs (inputs, targets), "
            f"got {type(batch).__name__}{size}"
        )
    if not hasattr(batch[0], "to"):
        raise ValueError(f"inputs must be a tensor, got {type(batch[0]).__name__}")
    return batch


def _mean(values):
    return float(np.mean(values)) if len(values) else np.nan


def _scores(predicted, true, present):
    tp = predicted & true
    by_label = tp.sum(0), true.sum(0), predicted.sum(0)
    by_row = tp.sum(1), true.sum(1), predicted.sum(1)
    return (
        (predicted == true).mean(),
        (predicted == true).all(1).mean(),
        f_beta(*map(np.sum, by_label), empty=np.nan).item(),
        _mean(f_beta(*by_label)[present]),
        f_beta(*by_row, empty=1.0).mean(),
    )


def _of_constants(true, present):
    """Of each score the largest that one label set for all rows has."""
    n, labels = true.shape
    positives = true.sum(0)
    sizes = np.arange(1, labels + 1)
    # Of the sets of one size, that of the most frequent labels has the largest TP.
    micro = f_beta(np.sort(positives)[::-1].cumsum(), positives.sum(), n * sizes)
    # In a row with m labels, each that is both true and in a set of k adds 2 / (k + m).
    of_row = true.sum(1)
    with_label = np.stack([true[of_row == m].sum(0) for m in range(labels + 1)])
    gains = 2 / (sizes[:, None] + np.arange(labels + 1)) @ with_label
    samples = [np.sort(gain)[labels - k :].sum() for k, gain in zip(sizes, gains)]
    same = np.unique(np.packbits(true, axis=1), axis=0, return_counts=True)[1]
    return (
        np.maximum(positives, n - positives).sum() / true.size,
        same.max() / n,
        micro.max(),
        _mean(f_beta(positives, positives, n)[present]),
        max((of_row == 0).sum(), *samples) / n,
    )


def _average_precision(logits, true, equal):
    order = logits.argsort()
    return average_precision_score(true[order], _ranks(logits[order], equal))


def _ranks(ascending, equal):
    """A number per logit, the same for ties: those within `equal` of their smallest."""
    room = equal * np.maximum(1, np.abs(ascending))
    starts = np.append(0, np.flatnonzero(np.diff(ascending) > room[1:]) + 1)
    ends = np.append(starts[1:], len(ascending)) - 1
    first = np.zeros(len(ascending), dtype=bool)
    first[starts] = True
    # Of very many logits all may have a near neighbour: that alone makes no tie.
    long = ascending[ends] - ascending[starts] > room[starts]
    for start, end in zip(starts[long], ends[long]):
        while ascending[end] - ascending[start] > room[start]:
            beyond = ascending[start] + room[start]
            start += np.searchsorted(ascending[start : end + 1], beyond, side="right")
            first[start] = True
    return first.cumsum()
