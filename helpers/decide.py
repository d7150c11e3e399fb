"""Decide: from scores to label sets: thresholds, and the weights that do the same.

A label is predicted where its score >= its threshold. Scores and targets are tensors or
NumPy arrays; results are tensors on the CPU: float64 (K,), one value per label, or bool
(N, K), a label set per row.
A threshold is tuned on validation data: on the data it was tuned on, its F looks better
than it is. F-beta is (1 + beta^2) TP / (beta^2 positives + predicted): recall counts
beta times as much as precision (van Rijsbergen 1974).
See the chapters "pos_weight" and "Thresholds: from probabilities to a set of labels".
"""

import math
from numbers import Real

import numpy as np
import pandas as pd
import torch
from scipy.special import logit, roots_legendre

from helpers.checks import (
    check_beta,
    check_scores,
    check_targets,
    check_threshold,
    to_numpy,
)

# Simulated with calibrated labels (F at best .3 to .95, 10 to 100 positives): the best
# F looks too good by .4 to 1.2 times LUCK sqrt((1 + beta^2) / (2 beta^2 positives)).
LUCK, FEW, SMALL = 0.2, 5, 0.01
# A calibrated label is called uncalibrated with this probability.
FALSE_ALARM = 0.01
# Larger than errors of rounding, and too small to matter.
ROUNDING = 1e-9


def f_beta(tp, positives, predicted, beta=1.0, empty=0.0):
    """F-beta from counts, as an array; `empty` where nothing is true or predicted."""
    weighed = beta**2 * positives + predicted
    # Below 1 only where nothing is predicted, and tp is 0.
    f = (1 + beta**2) * tp / np.maximum(weighed, 1)
    return np.where(weighed > 0, np.minimum(f, 1), empty)  # 1 + 2e-16 is rounding


def f_at(scores, targets, threshold, beta=1.0) -> torch.Tensor:
    """F-beta of each label, predicted where its score >= threshold: float64 (K,).

    scores, targets: (N, K), as for `best_thresholds`. threshold: one number, or one for
    each label. A label that is neither true nor predicted gets F = 0.
    Raises ValueError as `best_thresholds`, and for a threshold that is not finite.
    """
    scores = check_scores("scores", scores)
    true = check_targets(targets, scores.shape)
    check_beta(beta)
    predicted = scores >= check_threshold(threshold, scores.shape[1])
    counts = (predicted & true).sum(0), true.sum(0), predicted.sum(0)
    return torch.from_numpy(f_beta(*counts, beta))


def best_thresholds(scores, targets, beta=1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """The threshold of each label whose F-beta is largest on these data, and that F.

    Two float64 tensors (K,), on the CPU.
    scores: (N, K), float32 or float64, the higher the likelier: logits, probabilities
    or any others. targets: (N, K), 1 where a label is true and 0 elsewhere, any dtype.
    Of equally good thresholds it is the lowest; it is always the score of a positive.
    A label without positives gets F = 0 and the next number above its largest score, so
    that it is never predicted.
    Raises ValueError for other shapes or values, or a beta not positive and finite.
    """
    scores = check_scores("scores", scores)
    true = check_targets(targets, scores.shape)
    check_beta(beta)
    found = [
        _best_threshold(*label, beta)
        for label in zip(_transposed(scores), _transposed(true))
    ]
    return torch.tensor(found, dtype=torch.float64).T.contiguous().unbind()


def _transposed(matrix):
    """The columns as rows. In blocks that fit into the cache: three times as fast."""
    rows = np.empty(matrix.T.shape, matrix.dtype)
    for start in range(0, len(matrix), 256):
        rows[:, start : start + 256] = matrix[start : start + 256].T
    return rows


def _best_threshold(scores, true, beta):
    positives, ascending = np.sort(np.compress(true, scores)), np.sort(scores)
    if not len(positives):
        return float(np.nextafter(ascending[-1], np.inf)), 0.0
    # Between two positives' scores only false positives change. Of equal scores the
    # first counts all, and has the largest F.
    tp = np.arange(len(positives), 0, -1)
    predicted = len(scores) - np.searchsorted(ascending, positives)
    f = f_beta(tp, len(positives), predicted, beta)
    return float(positives[f.argmax()]), float(f.max())


def tuned_f(scores, targets, tune, test, beta=1.0) -> torch.Tensor:
    """F-beta of each label on the rows `test`, with the thresholds best on `tune`.

    float64 (K,), on the CPU. scores, targets: (N, K), as for `best_thresholds`.
    tune, test: row numbers from 0 to N - 1, each once, or masks of N booleans.
    Raises ValueError where they share a row or are empty, and as `best_thresholds`.
    """
    scores = check_scores("scores", scores)
    true = check_targets(targets, scores.shape)
    tune, test = (
        _rows(name, rows, len(scores))
        for name, rows in [("tune", tune), ("test", test)]
    )
    shared = np.intersect1d(tune, test)
    if len(shared):
        raise ValueError(
            "thresholds must not be scored on rows that they were tuned on, "
            f"got {len(shared)} rows in both, such as {shared[0]}"
        )
    thresholds, _ = best_thresholds(scores[tune], true[tune], beta)
    return f_at(scores[test], true[test], thresholds, beta)


def _rows(name, rows, n):
    given = to_numpy(rows)
    rows = np.flatnonzero(given) if given.dtype == bool else given
    whole = given.shape == (n,) if given.dtype == bool else given.dtype.kind in "iu"
    if given.ndim != 1 or not rows.size or not whole:
        got = f"{given.dtype} of shape {given.shape}"
    elif rows.min() < 0 or rows.max() >= n:
        got = f"{rows.min()} to {rows.max()}"
    elif len(np.unique(rows)) < len(rows):
        got = f"{len(rows)} numbers of {len(np.unique(rows))} rows"
    else:
        return rows
    raise ValueError(
        f"{name} must be row numbers from 0 to {n - 1}, at least one and each once, "
        f"or a mask of {n} booleans with one that is true, got {got}"
    )


def expected_f_sets(probabilities, beta=1.0) -> torch.Tensor:
    """The label set of each row that has the largest expected F-beta: bool (N, K).

    If labels are calibrated, and independent given the input. probabilities: (N, K),
    from 0 to 1. A row with nothing true and nothing predicted has F = 1, so the empty
    set is an answer too. Of sets as good as the best, to 1e-9, it is the smallest; of
    labels equally likely, the first.
    Raises ValueError as `best_thresholds`, and for probabilities outside 0..1.

    Of the sets of k labels, the k most likely are best: a likelier label in the place
    of another changes F only where one of the two is true, and that is more often the
    likelier (Lewis 1995, "Evaluating and optimizing autonomous text classification
    systems"). Label i adds (1 + beta^2) p_i E[1 / (k + beta^2 (1 + S))], S being how
    many others are true. 1 / a is the integral of u^(a-1) over 0..1, and E[t^S] the
    product of the others' 1 - p + p t: all are one numerical integral.
    See the chapter "Thresholds: from probabilities to a set of labels".
    """
    probabilities = check_scores("probabilities", probabilities, 0, 1)
    check_beta(beta)
    n, labels = probabilities.shape
    weights, t = _integral(labels, float(beta) ** 2)
    chosen = np.empty((n, labels), bool)
    rows = max(1, 200_000 // weights.size)  # what fits into the cache
    for start in range(0, n, rows):
        block = slice(start, start + rows)
        order = np.argsort(-probabilities[block], axis=1, kind="stable")
        p = np.take_along_axis(probabilities[block], order, 1).astype(float)
        factors = 1 - p[:, :, None] + p[:, :, None] * t
        product = factors.prod(1)
        # In place: of each label p times the product of the others, summed up to k.
        np.divide(p[:, :, None], factors, out=factors).cumsum(1, out=factors)
        factors *= product[:, None]
        expected = np.einsum("rkn,kn->rk", factors, weights)
        expected = np.column_stack([(1 - p).prod(1), expected])  # the empty set first
        size = (expected >= expected.max(1, keepdims=True) - ROUNDING).argmax(1)
        np.put_along_axis(
            chosen[block], order, np.arange(labels) < size[:, None], axis=1
        )
    return torch.from_numpy(chosen)


def _integral(labels, squared):
    """Weights (K, n) and t (n,): row k - 1 @ t^S = (1 + b^2) / (k + b^2 (1 + S)).

    Gauss-Legendre, in a variable whose powers are neither rough at 0 nor too steep,
    with enough nodes for every fraction that occurs. An expectation is a mean of these
    with positive weights, and so as exact.
    """
    counts, scale = np.arange(1, labels + 1), max(1, squared)
    fractions = (1 + squared) / (counts[:, None] + squared * counts)
    for nodes in (32, 64, 128, 256, 512, 1024):
        u, weights = roots_legendre(nodes)
        u = (1 + u) / 2
        t = u ** (3 * squared / scale)
        weights = weights * 1.5 * (1 + squared) / scale * t / u
        weights = weights * u ** (3 * counts[:, None] / scale)
        found = weights @ t[:, None] ** (counts - 1)
        if (np.abs(found - fractions) <= ROUNDING * fractions).all():
            return weights, t
    raise ValueError(f"probabilities must have fewer labels, got {labels}")


def expected_f_sets_of_joint(weights, sets, beta=1.0) -> torch.Tensor:
    """As `expected_f_sets`, for labels that depend on each other: bool (N, K).

    weights: (N, M), for each row the probabilities of M label sets, such as a
    powerset's softmax or how often each was sampled; they sum to 1. sets: (M, K), 0 and
    1 in any dtype. The chosen set need not be one of them.
    Raises ValueError for other shapes or values, or a row that does not sum to 1 (to
    1e-4, as float32 does).

    A label adds to a set of k labels the sum over s of (1 + beta^2) / (k + beta^2 s)
    times the probability that it is true and s labels are: the best of size k has the
    k largest (Dembczynski, Waegeman, Cheng & Hullermeier 2011, "An exact algorithm for
    F-measure maximization").
    See the chapter "Thresholds: from probabilities to a set of labels".
    """
    weights, sets = check_scores("weights", weights, 0, 1), to_numpy(sets)
    check_beta(beta)
    n, m = weights.shape
    zero_one = sets.ndim == 2 and sets.size and np.isin(sets, (0, 1)).all()
    if not zero_one or len(sets) != m:
        raise ValueError(
            "sets must be 0 and 1, shape (M, K), one row for each column of weights, "
            f"here {m}, got {sets.dtype} of shape {sets.shape}"
        )
    sums = weights.sum(1, dtype=float)
    wrong = np.flatnonzero(abs(sums - 1) > 1e-4)
    if len(wrong):
        raise ValueError(
            "weights must sum to 1 in each row, "
            f"got {sums[wrong[0]]:.6g} in row {wrong[0]}"
        )
    sets, squared = sets.astype(float), float(beta) ** 2
    sizes = sets.sum(1)
    best, chosen = weights @ (sizes == 0), np.zeros((n, sets.shape[1]), bool)
    for k in range(1, sets.shape[1] + 1):
        gain = weights @ (sets * ((1 + squared) / (k + squared * sizes))[:, None])
        # Rounded, so that equal ones stay in their order.
        order = np.argsort(-gain.round(12), axis=1, kind="stable")[:, :k]
        expected = np.take_along_axis(gain, order, 1).sum(1)
        better = expected > best + ROUNDING
        best[better] = expected[better]
        chosen[better] = False
        chosen[np.flatnonzero(better)[:, None], order[better]] = True
    return torch.from_numpy(chosen)


def recall_threshold(scores, targets, recall=0.9) -> float:
    """The largest threshold whose expected recall of a new row is at least `recall`.

    Conformal risk control (Angelopoulos et al. 2024, arXiv:2208.02814): the largest t
    with (the sum over rows of the share of its labels missed at t, + 1) / (N + 1)
    <= 1 - recall. scores, targets: (N, K), as for `best_thresholds`, of rows that
    trained nothing. A row without labels misses nothing: its recall is 1.
    It holds on average over such rows and the new one, if they are exchangeable, for
    any scores: not for these rows, one label, or one kind of input. Where nothing needs
    to be predicted, it is the next number above the largest score.
    Raises ValueError as `best_thresholds`, for a recall not between 0 and 1, and for
    too few rows: even for a recall of 0.9 with every label predicted, 9 are needed.
    See the chapter "Thresholds: from probabilities to a set of labels".
    """
    scores = check_scores("scores", scores)
    true = check_targets(targets, scores.shape)
    if not isinstance(recall, Real) or not 0 < recall < 1:
        raise ValueError(f"recall must be one number between 0 and 1, got {recall}")
    least = math.ceil((1 - ROUNDING) / (1 - recall)) - 1
    if len(scores) < least:
        raise ValueError(
            f"scores must have at least {least} rows to promise a recall of {recall}, "
            f"got {len(scores)}"
        )
    shares = (true / np.maximum(true.sum(1, keepdims=True), 1))[true]
    order = np.argsort(scores[true])
    ascending = scores[true][order]
    thresholds = np.append(ascending, np.nextafter(scores.max(), np.inf))
    # What each threshold misses: the labels with lower scores.
    missed = np.append(0, shares[order].cumsum())
    missed = missed[np.searchsorted(ascending, thresholds)]
    allowed = (1 - recall) * (len(scores) + 1) - 1
    return float(thresholds[missed <= allowed + ROUNDING][-1])


def neg_per_pos(targets) -> torch.Tensor:
    """The number of negatives per positive of each label: float64 (K,).

    It is the pos_weight that is usually recommended, right for balanced accuracy and
    seldom for F. targets: (N, K), 0 and 1 in any dtype. Raises ValueError for others,
    and naming the labels without positives (their weight would be infinite) or without
    negatives (it would be 0).
    """
    true = check_targets(targets)
    positives = true.sum(0)
    for what, missing, weight in [
        ("positives", positives == 0, "infinite"),
        ("negatives", positives == len(true), "0"),
    ]:
        if missing.any():
            columns = ", ".join(map(str, np.flatnonzero(missing)))
            raise ValueError(
                "targets must have positives and negatives of every label, "
                f"got no {what} of {columns}: the weight would be {weight}"
            )
    return torch.from_numpy((len(true) - positives) / positives)


def threshold_of_weight(weight):
    """The probability 1 / (1 + weight): the threshold that does what a pos_weight does.

    Training with this weight and a threshold of 0.5 is training without and this
    threshold. Exact for the minimiser, whose logits the weight shifts by log(weight)
    (Elkan 2001, "The foundations of cost-sensitive learning").
    weight: a number, tensor or array, and so is the result.
    Raises ValueError unless it is positive and finite.
    """
    _check_range("weight", weight)
    return 1 / (1 + weight)


def weight_of_f(f, beta=1.0):
    """The pos_weight (1 + beta^2) / f - 1, with which 0.5 is the best threshold for F.

    f is the largest F-beta. Calibrated probabilities reach it at the threshold
    f / (1 + beta^2) (Lipton, Elkan & Narayanaswamy 2014, arXiv:1402.1892), and the
    weight does the same (Puthiya Parambath, Usunier & Grandvalet 2014, "Optimizing
    F-measures by cost-sensitive classification").
    f: a number, tensor or array, and so is the result.
    Raises ValueError unless f is in (0, 1] and beta positive and finite.
    """
    _check_range("f", f, 1)
    check_beta(beta)
    return (1 + beta**2) / f - 1


def advise(probabilities, targets, *, beta=1.0, average="macro") -> pd.DataFrame:
    """What to do about the imbalance of each label: one row per label, by its column.

    probabilities, targets: (N, K) of validation data, as for `best_thresholds`, the
    probabilities from 0 to 1. average: which F is wanted. The mean over labels,
    "macro", asks for one threshold per label. F of all cells counted together, "micro",
    asks for one common threshold: f_at_half, best_threshold, best_f, threshold and
    weight are then those of all cells, the same in every row.

    Columns: positives (a count); prevalence (a fraction); neg_per_pos; f_at_half
    (F-beta where a label is predicted from 0.5 on); best_threshold and best_f from
    `best_thresholds`; threshold, the one to use; weight, `weight_of_f` of best_f;
    advice, a sentence. Every number is finite. A label without positives has
    neg_per_pos as if it had one, both F 0, and weight 1, which changes nothing.

    threshold is 0.5 unless another gains more than three times what luck does on so few
    positives. In simulations of calibrated labels and of logits twice too large, with
    10 to 300 positives, it was on average never worse than 0.5 by more than .005 in F.
    "uncalibrated" compares the sum of the probabilities and the slope of their logits
    with the targets (a score test in the model of Cox 1958, "Two further applications
    of a model for binary regression"). It is said of 1 % of calibrated labels. In very
    many rows it finds deviations too small to matter.

    Raises ValueError as `best_thresholds`, for probabilities outside 0..1 and for any
    other average: for F by samples, neither rule is right.
    """
    if average not in ("macro", "micro"):
        raise ValueError(
            'average must be "macro" (one threshold per label) or "micro" (one for all '
            f"labels), got {average!r}, for which neither is right"
        )
    probabilities = check_scores("probabilities", probabilities, 0, 1)
    true = check_targets(targets, probabilities.shape)
    counted = probabilities, true
    if average == "micro":
        counted = probabilities.reshape(-1, 1), true.reshape(-1, 1)
    best, f = (found.numpy() for found in best_thresholds(*counted, beta))
    f_at_half = f_at(*counted, 0.5, beta).numpy()
    positives = counted[1].sum(0)
    luck = LUCK * np.sqrt((1 + beta**2) / (2 * beta**2) / np.maximum(positives, 1))
    enough = (positives >= FEW) & (positives < len(counted[1]))
    change = enough & (f - f_at_half > np.maximum(3 * luck, SMALL))
    weight = np.ones_like(f)
    weight[f > 0] = weight_of_f(f[f > 0], beta)
    of_label, every = true.sum(0), np.ones(true.shape[1])
    table = pd.DataFrame(
        {
            "positives": of_label,
            "prevalence": of_label / len(true),
            "neg_per_pos": (len(true) - of_label) / np.maximum(of_label, 1),
            "f_at_half": f_at_half * every,
            "best_threshold": best * every,
            "best_f": f * every,
            "threshold": np.where(change, best, 0.5) * every,
            "weight": weight * every,
        },
        index=pd.RangeIndex(true.shape[1], name="label"),
    )
    name = f"micro-F{beta:g}" if average == "micro" else f"F{beta:g}"
    table["advice"] = [
        _advice(row, name, count, len(counted[1]), _calibration(*label))
        for row, count, *label in zip(
            table.itertuples(), positives * every, probabilities.T, true.T
        )
    ]
    return table


def _advice(row, name, positives, rows, uncalibrated):
    if positives in (0, rows):
        missing = "negatives" if positives else "positives"
        return f"no {missing} here: nothing can be tuned"
    counted = f"{positives:.0f} positive{'s' if positives > 1 else ''}"
    if positives < FEW:
        return f"only {counted}: keep 0.5, a threshold tuned on so few is noise"
    if row.threshold != 0.5:
        advice = (
            f"threshold {row.threshold:.2g} instead of 0.5 "
            f"({name} {row.f_at_half:.2f} -> {row.best_f:.2f})"
        )
        if not uncalibrated and not name.startswith("micro"):
            other = threshold_of_weight(row.neg_per_pos)
            advice += f"; neg/pos = {row.neg_per_pos:.3g} would make it {other:.2g}"
    else:
        fine = row.best_f - row.f_at_half <= SMALL
        advice = (
            f"{'0.5 is fine' if fine else 'keep 0.5'} "
            f"({name} {row.f_at_half:.2f}, at best {row.best_f:.2f}"
            f"{'' if fine else f': with {counted} that may be luck'})"
        )
    return advice + uncalibrated


def _calibration(probabilities, true):
    """What is wrong with a label's probabilities, or "" where it may be chance."""
    tiny = np.finfo(float).eps  # so that 0 and 1 have logits
    p = np.clip(probabilities.astype(float), tiny, 1 - tiny)
    variance, errors = p * (1 - p), true - p
    logits = logit(p)
    logits -= np.average(logits, weights=variance)  # so that the two are independent
    spread = variance @ logits**2
    # Of calibrated probabilities, both are about normal with variance 1.
    of_sum = errors.sum() / math.sqrt(variance.sum())
    of_slope = 0.0
    if spread > 1e-9 * variance.sum():  # else all logits are one
        of_slope = errors @ logits / math.sqrt(spread)
    # Chi-squared with two degrees of freedom: larger than x with probability exp(-x/2).
    if math.exp(-(of_sum**2 + of_slope**2) / 2) > FALSE_ALARM:
        return ""
    if abs(of_sum) > abs(of_slope):
        why = f"they sum to {p.sum():.0f} for {true.sum()} positives"
    else:
        why = "they are too extreme" if of_slope < 0 else "they are not extreme enough"
    return f"; the probabilities look uncalibrated: {why}"


def _check_range(name, value, high=math.inf):
    given = to_numpy(value)
    if isinstance(value, (list, tuple)) or given.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be a number, tensor or array, got {value!r}")
    if not ((given > 0) & (given <= high) & np.isfinite(given)).all():
        asked = (
            "positive and finite"
            if math.isinf(high)
            else f"larger than 0 and at most {high}"
        )
        raise ValueError(f"{name} must be {asked}, got {value}")
