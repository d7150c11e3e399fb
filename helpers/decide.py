"""Decide: from scores to label sets: cuts, and the weights that do the same.

A cut is tuned on validation data: on the data it was tuned on, its F looks better than it is.
F-beta is (1 + beta^2) TP / (beta^2 positives + predicted): recall counts beta times as much as precision (van Rijsbergen 1974).
See the chapter "Weights for rare labels".
"""

import math

import numpy as np
import pandas as pd
import torch

# Simulated with calibrated models, at prevalences of 1 to 20 %: the F1 at the best cut is about 0.2 / sqrt(positives) better than on new
# data, and in 19 of 20 cases at most three times that better than at the cut best_f / 2. With 30 positives it is 0.03 to 0.05 too good.
LUCK, FEW = 0.2, 30
COLUMNS = 32  # that best_cuts works on at a time


def best_cuts(scores, targets, beta=1.0):
    """The cut of each label whose F-beta is largest on these data, and that F: two float64 tensors (K,), on the CPU.

    scores: (N, K), float32 or float64, the higher the likelier: logits, probabilities or any others.
    targets: (N, K), 1 where a label is true and 0 elsewhere, in any dtype.
    A label is predicted where its score >= its cut. Of equally good cuts it is the lowest; it is always the score of a positive.
    A label without positives gets F = 0 and the next number above its largest score, so that it is never predicted.
    Raises ValueError for other shapes or values, or a beta that is not positive and finite.
    """
    _check_scores("scores", scores)
    _check_range("beta", beta)
    scores, true = (
        scores.detach().cpu().numpy(),
        _true(targets, scores.shape).cpu().numpy(),
    )
    found = []
    for first in range(0, scores.shape[1], COLUMNS):
        found += [
            _best_cut(*row, beta)
            for row in zip(_columns(scores, first), _columns(true, first))
        ]
    return torch.tensor(found, dtype=torch.float64).T.contiguous().unbind()


def _columns(matrix, first):
    """Some columns as rows, each contiguous. Transposed in blocks that fit into the cache: at once it takes longer than the sorting."""
    part = matrix[:, first : first + COLUMNS]
    rows = np.empty(part.T.shape, part.dtype)
    for start in range(0, len(part), 256):
        rows[:, start : start + 256] = part[start : start + 256].T
    return rows


def _best_cut(scores, true, beta):
    positives, ascending = np.sort(np.compress(true, scores)), np.sort(scores)
    if not len(positives):
        return float(np.nextafter(ascending[-1], np.inf)), 0.0
    # Between two positives' scores only false positives change. Of equal scores the first counts all, and has the largest F.
    tp = np.arange(len(positives), 0, -1)
    predicted = len(scores) - np.searchsorted(ascending, positives)
    f = (1 + beta**2) * tp / (beta**2 * len(positives) + predicted)
    return float(positives[f.argmax()]), float(f.max())


def tuned_f(scores, targets, tune, test, beta=1.0):
    """F-beta of each label on the rows `test`, with the cuts that are best on the rows `tune`: float64 (K,), on the CPU.

    scores, targets: (N, K), as for `best_cuts`. tune, test: row numbers, int64. Raises ValueError where they share a row,
    and as `best_cuts`. A label that is neither true nor predicted in `test` gets F = 0.
    """
    if shared := set(tune.tolist()) & set(test.tolist()):
        raise ValueError(
            f"cuts must not be scored on rows that they were tuned on, got {len(shared)} rows in both, such as {min(shared)}"
        )
    cuts, _ = best_cuts(scores[tune], targets[tune], beta)
    said, true = (
        scores[test].detach().cpu() >= cuts,
        _true(targets[test], scores[test].shape).cpu(),
    )
    counts = beta**2 * true.sum(0) + said.sum(0)
    return (1 + beta**2) * (said & true).sum(0) / counts.clamp(min=1).double()


def neg_per_pos(targets):
    """The number of negatives per positive of each label, the pos_weight that is usually recommended: (K,), float64.

    It is right for balanced accuracy, seldom for F. targets: (N, K), 0 and 1 in any dtype. Raises ValueError for others, and naming
    the labels without positives (their weight would be infinite) or without negatives (it would be 0).
    """
    positives = _true(targets).sum(0)
    for what, missing, weight in [
        ("positives", positives == 0, "infinite"),
        ("negatives", positives == len(targets), "0"),
    ]:
        if missing.any():
            columns = ", ".join(map(str, missing.nonzero().flatten().tolist()))
            raise ValueError(
                f"targets must have positives and negatives of every label, got no {what} of {columns}: the weight would be {weight}"
            )
    return (len(targets) - positives) / positives.double()


def cut_of_weight(weight):
    """The probability 1 / (1 + weight): training with this pos_weight and cutting at 0.5 is training without and cutting here.

    Exact for the minimiser, whose logits the weight shifts by log(weight) (Elkan 2001, "The foundations of cost-sensitive learning").
    weight: a float or a tensor, and so is the result. Raises ValueError unless it is positive and finite.
    """
    _check_range("weight", weight)
    return 1 / (1 + weight)


def weight_of_f(f, beta=1.0):
    """The pos_weight (1 + beta^2) / f - 1, with which a cut at 0.5 maximises F-beta where the largest F-beta is f.

    The best cut of calibrated probabilities is f / (1 + beta^2) (Lipton, Elkan & Narayanaswamy 2014, arXiv:1402.1892); the
    weight does the same (Puthiya Parambath, Usunier & Grandvalet 2014, "Optimizing F-measures by cost-sensitive classification").
    f: a float or a tensor, and so is the result. Raises ValueError unless f is in (0, 1] and beta positive and finite.
    """
    _check_range("f", f, 1)
    _check_range("beta", beta)
    return (1 + beta**2) / f - 1


def advise(targets, probabilities, beta=1.0):
    """What to do about the imbalance of each label: a data frame with one row per label, its index the label's column number.

    targets, probabilities: (N, K) of validation data, as for `best_cuts`, the probabilities from 0 to 1.
    Columns: positives (a count); prevalence (a fraction); neg_per_pos; f_at_half (F-beta where a label is predicted from 0.5 on);
    best_cut and best_f from `best_cuts`; weight, `weight_of_f` of best_f; advice, a sentence.
    Every number is finite. A label without positives has neg_per_pos as if it had one, both F 0, and weight 1, which changes nothing.
    Raises ValueError as `best_cuts`, and for probabilities outside 0..1.
    """
    _check_scores("probabilities", probabilities, 0, 1)
    cuts, f = best_cuts(probabilities, targets, beta)
    probabilities, true = probabilities.detach().cpu(), targets.cpu().bool()
    positives = true.sum(0)

    def f_of(predicted):
        tp = (predicted & true).sum(0).double()
        return (
            (1 + beta**2)
            * tp
            / (beta**2 * positives.double() + predicted.sum(0)).where(tp > 0, 1)
        )

    luck = LUCK / positives.clamp(min=1).sqrt()
    total, noise = (
        probabilities.double().sum(0),
        (probabilities * (1 - probabilities)).double().sum(0).sqrt(),
    )
    uncalibrated = f - f_of(probabilities >= f / (1 + beta**2)) > 3 * luck
    uncalibrated |= (total - positives).abs() > 3 * noise + 0.1 * positives
    table = pd.DataFrame(
        {
            "positives": positives,
            "prevalence": positives.double() / len(true),
            "neg_per_pos": (len(true) - positives) / positives.clamp(min=1).double(),
            "f_at_half": f_of(probabilities >= 0.5),
            "best_cut": cuts,
            "best_f": f,
            "weight": [
                weight_of_f(value, beta) if value else 1.0 for value in f.tolist()
            ],
        },
        index=pd.RangeIndex(len(f), name="label"),
    )
    more = zip(luck.tolist(), total.tolist(), uncalibrated.tolist())
    table["advice"] = [
        _advice(row, *of_row, beta) for row, of_row in zip(table.itertuples(), more)
    ]
    return table


def _advice(row, luck, total, uncalibrated, beta):
    name = f"F{beta:g}"
    if row.prevalence in (0, 1):
        return f"no {'negatives' if row.prevalence else 'positives'} here: nothing can be tuned"
    if row.positives < FEW:
        counted = "1 positive" if row.positives == 1 else f"{row.positives} positives"
        return f"only {counted}: a cut tuned on so few is noisy, and its {name} too good; share one cut among the rare labels, or collect more"
    fine = row.best_f - row.f_at_half <= max(luck, 0.01)
    if fine:
        advice = f"0.5 is fine ({name} {row.f_at_half:.2f}, at best {row.best_f:.2f})"
    else:
        advice = f"cut at {row.best_cut:.2g} instead of 0.5 ({name} {row.f_at_half:.2f} -> {row.best_f:.2f})"
    if uncalibrated:
        optimum = row.best_f / (1 + beta**2)
        return f"{advice}; the probabilities look uncalibrated: they sum to {total:.0f}, and calibrated ones are best cut at {optimum:.2g}"
    return (
        advice
        if fine
        else f"{advice}; neg/pos = {row.neg_per_pos:.3g} would cut at {cut_of_weight(row.neg_per_pos):.2g}"
    )


def _check_scores(name, scores, low=-math.inf, high=math.inf):
    if not isinstance(scores, torch.Tensor) or scores.dtype not in (
        torch.float32,
        torch.float64,
    ):
        raise ValueError(
            f"{name} must be a float32 or float64 tensor, got {getattr(scores, 'dtype', type(scores).__name__)}"
        )
    if scores.ndim != 2 or scores.numel() == 0:
        raise ValueError(
            f"{name} must have shape (N, K) with at least one row and one label, got {tuple(scores.shape)}"
        )
    smallest, largest = (
        scores.detach().aminmax()
    )  # both NaN where any value is, without a copy of the scores
    if not (
        smallest.isfinite()
        and largest.isfinite()
        and low <= smallest
        and largest <= high
    ):
        asked = "finite" if math.isinf(high) else f"probabilities from {low} to {high}"
        raise ValueError(
            f"{name} must be {asked}, got values from {smallest:.4g} to {largest:.4g} in shape {tuple(scores.shape)}"
        )


def _true(targets, shape=None):
    """Targets of 0 and 1 as booleans."""
    asked = "a tensor of 0 and 1, shape (N, K), one column per label" + (
        f", here {tuple(shape)} as the scores" if shape else ""
    )
    if not isinstance(targets, torch.Tensor):
        raise ValueError(f"targets must be {asked}, got {type(targets).__name__}")
    if targets.ndim != 2 or targets.numel() == 0 or shape not in (None, targets.shape):
        raise ValueError(f"targets must be {asked}, got shape {tuple(targets.shape)}")
    if targets.dtype == torch.bool:
        return targets
    true = targets == 1
    known = (targets == 0).logical_or_(true)
    if not known.all():
        raise ValueError(
            f"targets must be {asked}, got {targets[~known][0].item()} in shape {tuple(targets.shape)}"
        )
    return true


def _check_range(name, value, high=math.inf):
    values = torch.as_tensor(value)
    if not ((values > 0) & (values <= high) & values.isfinite()).all():
        asked = (
            "positive and finite"
            if math.isinf(high)
            else f"larger than 0 and at most {high}"
        )
        raise ValueError(f"{name} must be {asked}, got {value}")
