"""Metrics: one safe pass over a data loader, and each score beside what no model has.

Many of its lines answer a mistake that the chapter "Two multi-label evaluation
functions" runs and repairs. What each score asks, and how sure it is: see the chapter
"Micro, macro, samples: which F, which mAP?".

Intervals are of the percentile bootstrap, 95 % (Efron 1979,
doi:10.1214/aos/1176344552): rows are drawn with replacement, or whole groups of rows
that are not independent, such as the frames of a video. They cover other rows of the
same kind, and no other training. A label that is never true is left out of means over
labels, in the data and in each resample; and a resample in which nothing is left is
left out of its interval. Average precision is larger in resamples, where copies of a
row are ties: its interval is corrected for this bias (Efron 1981, doi:10.2307/3314608).
"""

import itertools
import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import stats
from scipy.sparse import csr_array
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from helpers.checks import (
    check_beta,
    check_integer,
    check_scores,
    check_targets,
    check_threshold,
    to_numpy,
)
from helpers.decide import f_beta
from helpers.stats import CONFIDENCE, Interval

# Numbers closer than this, relative to the larger or to 1, count as equal.
EQUAL = {"float32": 1e-5, "float64": 1e-10}
SCORES = ["per_logit_accuracy", "exact_match", "micro_f1", "macro_f1", "samples_f1"]
# Cells of weights made at once; rows of one product (so few whole numbers have a sum
# that is exact in float32).
BLOCK, CHUNK = 2**20, 2**11
TAILS = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
FEWEST = 100  # resamples of an interval
SHARE = "Subset(data, range(rank, len(data), world))"  # of one rank, every row once


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` finds: a row per score in `scores`, per label in `labels`.

    scores: rows per_logit_accuracy, exact_match, micro_f1, macro_f1, samples_f1, where
    a rightly empty prediction counts as 1, and macro_ap, the mean average precision.
    Columns: model; low and high, its interval; nothing, the score of predicting no
    label; constant, the best that any one label set for all rows has on these targets;
    left_out, how many labels a mean over labels leaves out, those that are never true.

    labels: columns tp, fp, fn, tn, support (counts); prevalence, precision, recall, f1,
    f1_low and f1_high (its interval), ap and auc of the logits. f1 and ap of a label
    that is never true are nan, so that their means are macro_f1 and macro_ap.
    nan stands where nothing is left to divide by.
    """

    scores: pd.DataFrame
    labels: pd.DataFrame


def evaluate(
    model, loader, *, threshold=0.5, names=None, groups=None, resamples=1000, seed=0
) -> Evaluation:
    """Multi-label scores of `model` over all batches of `loader`, with intervals.

    model: a torch.nn.Module that gives logits (B, K), float32 or float64, finite. It
        must not apply a sigmoid itself: nobody can tell probabilities from logits.
    loader: yields pairs (inputs, targets); targets (B, K) hold 1 where a label is true
        and 0 elsewhere, in any dtype. Unknown cells, such as -1, are refused.
    threshold, names, groups, resamples, seed: as for `evaluate_logits`. With groups the
        loader must not shuffle: they stand in the order of its rows.

    The batch size does not matter, though a row's place in its batch changes the last
    digits of its logits: see `evaluate_logits`.
    The model runs on its own device, in eval mode, and every module gets its old mode
    back. The logits stay on the CPU until the end, 4 or 8 bytes per image and label,
    and about 15 more while they are scored.
    Raises ValueError for any other model or batch, an empty loader, and as
    `evaluate_logits`.

    In a group of several ranks (torch.distributed), every rank calls this with a loader
    of its share of the rows, `Subset(data, range(rank, len(data), world))`, and with
    their groups. Rank 0 collects the logits of all and scores them with its options, in
    the order of `data`; each rank gets the result, that of one process. A rank may have
    no rows. See the chapter "Many GPUs, many labels".
    Raises ValueError on all ranks for what is wrong on one (named), a
    DistributedSampler that pads or drops rows, ranks with the same rows (not those that
    overlap in part), and parameters or buffers that differ between them. Those of a
    DistributedDataParallel become equal, as by its forward: each rank gets the buffers
    of rank 0. One rank alone would wait for the others: it uses `evaluate_logits`.
    With nccl, call torch.cuda.set_device before.
    """
    options = {
        "threshold": threshold,
        "names": names,
        "resamples": resamples,
        "seed": seed,
    }
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return _evaluate_shares(model, loader, groups, options)
    found = _run(model, loader, **options)
    if not found:
        raise ValueError(
            "loader must yield at least one batch of (inputs, targets), got none"
        )
    return evaluate_logits(*found, groups=groups, **options)


def evaluate_logits(
    logits, targets, *, threshold=0.5, names=None, groups=None, resamples=1000, seed=0
) -> Evaluation:
    """As `evaluate`, for those who have logits and targets: (N, K), tensors or arrays.

    logits: float32 or float64, finite. targets: 1 where a label is true, else 0.
    threshold: a label is predicted where its probability >= this, strictly between 0
        and 1: one number, or one for each label.
    names: K different names of the labels; without, they are numbered from 0 on.
    groups: N entries, equal where rows belong together and are drawn together.
    resamples: at least 100, or 0 for no intervals, and none of their columns.
    seed: of the resamples, an integer of at least 0.

    Logits within 1e-5 (float32) or 1e-10 (float64) of the smallest of them, relative to
    its size or to 1, are ties; and a probability that misses its threshold by no more
    than such a part reaches it.
    The intervals take about 4 ns x N x K x resamples, nearly all of it for macro_ap,
    and more where labels are frequent.
    Raises ValueError for anything else, naming the argument.
    """
    logits = check_scores("logits", logits)
    true = check_targets(targets, logits.shape)
    rows, labels = true.shape
    thresholds = check_threshold(threshold, labels, 0, 1)
    index = _label_index(names, labels)
    group = _group_of_rows(groups, rows)
    _check_draws(resamples, seed)
    equal = EQUAL[logits.dtype.name]
    predicted = np.empty_like(true)
    for label, (scores, enough) in enumerate(zip(logits.T, thresholds * (1 - equal))):
        predicted[:, label] = expit(scores.astype(float)) >= enough
    f_of_rows = _f_of_rows(predicted, true, 1.0)
    rankings, auc = zip(*(_ranking(*column, equal) for column in zip(logits.T, true.T)))

    def score(weights):
        """Scores (6, B) and F1 of each label (K, B) for weights (N, B)."""
        scores, f1 = _scores(weights, predicted, true, f_of_rows)
        ap = np.stack([_average_precision(*ranking, weights) for ranking in rankings])
        return np.vstack([scores, _mean_of_labels(ap)]), f1, ap

    once = np.ones((rows, 1), np.float32)
    of_model, f1, ap = (found[:, 0] for found in score(once))
    nothing = np.zeros_like(true)
    of_nothing, _ = _scores(once, nothing, true, _f_of_rows(nothing, true, 1.0))
    present = np.flatnonzero(true.any(0))
    chance = _mean(true.mean(0)[present])
    of_scores, of_f1 = (), ()
    if resamples:
        draws = [
            score(weights)[:2] for weights in _draws(group, resamples, seed, labels)
        ]
        drawn, drawn_f1 = map(np.hstack, zip(*draws))
        of_ap = _corrected_ends(of_model[-1], drawn[-1])
        of_scores = np.column_stack([_ends(drawn[:-1]), of_ap])
        of_f1 = _ends(drawn_f1)
    scores = _score_table(
        labels - len(present),
        model=of_model,
        **dict(zip(["low", "high"], of_scores)),
        nothing=[*of_nothing[:, 0], chance],
        constant=[*_of_constants(true, present), chance],
    )
    counts = [cells.sum(0) for cells in (predicted & true, true, predicted)]
    of_labels = {"f1": f1, **dict(zip(["f1_low", "f1_high"], of_f1))}
    table = _label_table(index, rows, *counts, **of_labels, ap=ap, auc=auc)
    return Evaluation(scores, table)


def _score_table(absent, **columns):
    """A row per score; means over labels leave out the `absent` ones."""
    index = pd.Index([*SCORES, "macro_ap"], name="score")
    scores = pd.DataFrame({**columns, "left_out": 0}, index)
    scores.loc[["macro_f1", "macro_ap"], "left_out"] = absent
    return scores


def _label_table(index, rows, tp, support, said, **scores):
    """A row per label: its counts, what follows from them, and its `scores`."""
    columns = {
        "tp": tp,
        "fp": said - tp,
        "fn": support - tp,
        "tn": rows - said - support + tp,
        "support": support,
        "prevalence": support / rows,
        "precision": _ratio(tp, said),
        "recall": _ratio(tp, support),
        **scores,
    }
    return pd.DataFrame(columns, index)


def bootstrap_f(
    predicted, targets, *, than=None, groups=None, beta=1.0, resamples=1000, seed=0
) -> pd.Series:
    """F-beta four ways with intervals: index micro, macro, samples, exact.

    predicted, targets: label sets (N, K) of 0 and 1, any dtype, tensors or arrays.
    than: label sets that another model predicts for the same rows: the intervals are
        then of the difference, `predicted` minus `than`, in the same resamples.
    groups, resamples (at least 100), seed: as for `evaluate_logits`.

    micro: F of all cells counted together. macro: mean F of the labels that are true
    somewhere. samples: mean F of the rows, 1 where rightly nothing is predicted.
    exact: the share of rows with every label right, for which beta does not matter.
    Memory beyond the input: below four times targets and predictions as booleans.
    Raises ValueError for anything else, naming the argument.
    """
    true = check_targets(targets)
    models = [_label_sets("predicted", predicted, true.shape)]
    if than is not None:
        models.append(_label_sets("than", than, true.shape))
    group = _group_of_rows(groups, len(true))
    check_beta(beta)
    _check_draws(resamples, seed, or_none=False)
    f_of_rows = [_f_of_rows(sets, true, beta) for sets in models]

    def score(weights):
        scores = [
            _scores(weights, sets, true, of_rows, beta)[0][1:]
            for sets, of_rows in zip(models, f_of_rows)
        ]
        return scores[0] if than is None else scores[0] - scores[1]

    values = score(np.ones((len(true), 1), np.float32))[:, 0]
    draws = _draws(group, resamples, seed, true.shape[1])
    ends = _ends(np.hstack([score(weights) for weights in draws]))
    exact, *f = map(Interval, *np.stack([values, *ends]).tolist())
    return pd.Series([*f, exact], ["micro", "macro", "samples", "exact"])


def _run(model, loader, threshold, names, resamples, seed):
    """The logits and the targets of all batches, or None where there is no batch."""
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    _check_draws(resamples, seed)
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
                check_threshold(threshold, labels, 0, 1)
                _label_index(names, labels)
    finally:
        for module, training in modes.items():
            module.training = training
    return (np.concatenate(logits), np.concatenate(true)) if logits else None


def _evaluate_shares(model, loader, groups, options):
    """`evaluate` in a group: every rank runs its share, rank 0 scores all rows.

    Whatever fails is told to all, so that none waits for a rank that has left.
    """
    wrapped = [None] * dist.get_world_size()
    dist.all_gather_object(wrapped, isinstance(model, DistributedDataParallel))
    if wrapped[dist.get_rank()]:
        model = model.module
    if all(wrapped):
        # Its forward would do this, and wait for ranks that have fewer batches.
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)
    error = None
    try:
        share = _share(model, loader, groups, options)
    except Exception as problem:
        error, share = problem, f"{type(problem).__name__}: {problem}"
    shares = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(share, shares)
    found = [None]
    if shares:
        try:
            logits, true, groups = _joined(shares)
            found = [evaluate_logits(logits, true, groups=groups, **options)]
        except Exception as problem:
            found = [problem]
    dist.broadcast_object_list(found)
    if isinstance(found[0], Exception):
        raise found[0] from error
    return found[0]


def _share(model, loader, groups, options):
    """What this rank's model holds, as a checksum; its logits, targets and groups."""
    sampler = getattr(getattr(loader, "batch_sampler", None) or loader, "sampler", None)
    if isinstance(sampler, DistributedSampler):
        if sampler.total_size != len(sampler.dataset):
            raise ValueError(
                f"loader's DistributedSampler makes {sampler.total_size} rows of "
                f"{len(sampler.dataset)}: use {SHARE} without it"
            )
    found, content = _run(model, loader, **options), 0
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        values = tensor.detach().cpu().reshape(-1).view(torch.uint8)
        content = zlib.crc32(values.numpy(), content)
    if found and groups is not None:
        groups = _check_groups(groups, len(found[0]))
    return content, found and (*found, groups)


def _joined(shares):
    """Logits, targets and groups of all: row i of each rank before row i + 1 of any."""
    ranks = enumerate(shares)
    if told := [f"rank {rank}: {share}" for rank, share in ranks if type(share) is str]:
        raise ValueError("; ".join(told))
    models, shares = zip(*shares)
    if len(set(models)) > 1:
        raise ValueError(
            "model must be the same on every rank, but parameters or buffers differ "
            "(after training, those of BatchNorm do): dist.broadcast them from rank 0, "
            "or give the DistributedDataParallel"
        )
    shares = [share for share in shares if share]
    if not shares:
        raise ValueError("loader must yield at least one batch on some rank, got none")
    if len({(len(logits[0]), groups is None) for logits, _, groups in shares}) > 1:
        raise ValueError(
            "logits must have as many columns, and groups be given or not, "
            "on every rank that has rows"
        )
    rows = [
        sorted(zlib.crc32(a.tobytes(), zlib.crc32(b.tobytes())) for a, b in zip(*share))
        for *share, _ in shares
    ]
    # Where all logits are alike, shares of other rows may well be alike too.
    different = [
        tuple(of_rank)
        for of_rank, (logits, *_) in zip(rows, shares)
        if (logits != logits[0]).any()
    ]
    if len(set(different)) < len(different):
        raise ValueError(f"loader must yield a share on every rank: use {SHARE}")
    order = np.argsort(np.concatenate([*map(np.arange, map(len, rows))]), kind="stable")
    logits, true, groups = zip(*shares)
    groups = None if groups[0] is None else np.concatenate(groups)[order]
    return np.concatenate(logits)[order], np.concatenate(true)[order], groups


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


def _label_index(names, labels):
    if names is None:
        return pd.RangeIndex(labels, name="label")
    names = list(names)
    if len(names) != labels or len(set(names)) != labels:
        raise ValueError(
            f"names must be {labels} different names, one for each label, "
            f"got {len(names)}, {len(set(names))} of them different"
        )
    return pd.Index(names, name="label")


def _group_of_rows(groups, rows):
    """The number of each row's group, from 0 on: (N,)."""
    if groups is None:
        return np.arange(rows)
    numbers, different = pd.factorize(_check_groups(groups, rows))
    if numbers.min() < 0 or len(different) < 2:
        raise ValueError(
            "groups must hold at least two different values and none that is missing, "
            f"got {len(different)} and {(numbers < 0).sum()} missing"
        )
    return numbers


def _check_groups(groups, rows):
    given = to_numpy(groups)
    if given.shape != (rows,):
        raise ValueError(
            f"groups must have one entry for each of the {rows} rows, "
            f"got shape {given.shape}"
        )
    return given


def _check_draws(resamples, seed, or_none=True):
    check_integer("resamples", resamples)
    check_integer("seed", seed)
    if resamples < FEWEST and not (or_none and resamples == 0):
        asked = f"at least {FEWEST}{', or 0 for no intervals' if or_none else ''}"
        raise ValueError(f"resamples must be {asked}, got {resamples}")


def _label_sets(name, sets, shape):
    given = to_numpy(sets)
    if given.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {given.shape}")
    said = given == 1
    if not (said | (given == 0)).all():
        raise ValueError(f"{name} must hold 0 and 1, got others: scores, perhaps?")
    return said


def _draws(group, resamples, seed, labels):
    """How often each resample holds each row: blocks (N, B), float32."""
    random = np.random.default_rng(seed)
    groups, size = group.max() + 1, max(1, labels // 4, BLOCK // len(group))
    for start in range(0, resamples, size):
        weights = np.empty((len(group), min(size, resamples - start)), np.float32)
        for resample in weights.T:
            drawn = random.integers(groups, size=groups)
            resample[:] = np.bincount(drawn, minlength=groups)[group]
        yield weights


def _ends(resampled):
    """The ends of the percentile intervals of each row, (2, rows), without its nan."""
    return pd.DataFrame(resampled.T).quantile(TAILS).to_numpy()


def _corrected_ends(value, resampled):
    """The ends for one score whose resamples do not lie evenly around its value: (2,).

    Simulated with weak scores and 10 to 100 positives of each label, 80 to 90 % of the
    intervals of macro_ap held the truth without this correction, and 91 to 94 % with.
    """
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return [np.nan, np.nan]
    # Half of those that are equal, but for rounding, count as below.
    below = (1 - np.sign((resampled - value).round(12)).mean()) / 2
    few = 0.5 / len(resampled)
    shift = stats.norm.ppf(np.clip(below, few, 1 - few))
    return np.quantile(resampled, stats.norm.cdf(2 * shift + stats.norm.ppf(TAILS)))


def _ratio(part, whole):
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values):
    return float(np.mean(values)) if len(values) else np.nan


def _mean_of_labels(values):
    """The mean of each column (K, B) over what is not nan."""
    return _ratio(np.nansum(values, 0), (~np.isnan(values)).sum(0))


def _f_of_rows(predicted, true, beta):
    """Of each row whether it is right in every label, and its F: (2, N)."""
    counts = (predicted & true).sum(1), true.sum(1), predicted.sum(1)
    return np.stack([(predicted == true).all(1), f_beta(*counts, beta, empty=1.0)])


def _scores(weights, predicted, true, of_rows, beta=1.0):
    """SCORES (5, B) and F of each label (K, B) where rows have weights (N, B)."""
    # Counts of a resample are sums of its weights: data are never drawn themselves.
    counts = np.zeros((3, true.shape[1], weights.shape[1]))
    rows, sums = np.zeros(weights.shape[1]), np.zeros((2, weights.shape[1]))
    for start in range(0, len(true), CHUNK):
        part = slice(start, start + CHUNK)
        cells = predicted[part] & true[part], true[part], predicted[part]
        for count, cell in zip(counts, cells):
            count += cell.T.astype(np.float32) @ weights[part]
        exact = weights[part].astype(float)
        rows += exact.sum(0)
        sums += of_rows[:, part] @ exact
    tp, positives, said = counts
    of_labels = np.where(positives > 0, f_beta(tp, positives, said, beta), np.nan)
    totals, cells = counts.sum(1), rows * true.shape[1]
    scores = [
        (cells + 2 * totals[0] - totals[1] - totals[2]) / cells,
        sums[0] / rows,
        f_beta(*totals, beta, empty=np.nan),
        _mean_of_labels(of_labels),
        sums[1] / rows,
    ]
    return np.stack(scores), of_labels


def _of_constants(true, present):
    """Of each score the largest that one label set for all rows has."""
    n, labels = true.shape
    positives = true.sum(0)
    sizes = np.arange(1, labels + 1)
    # Of the sets of one size, that of the most frequent labels has the largest TP.
    micro = f_beta(np.sort(positives)[::-1].cumsum(), positives.sum(), n * sizes)
    # In a row with m labels, each that is both true and in a set of k adds 2 / (k + m).
    counts, of_row = np.unique(true.sum(1), return_inverse=True)
    with_label = np.stack([true[of_row == m].sum(0) for m in range(len(counts))])
    samples = [(true.sum(1) == 0).sum()]
    for k in sizes:
        gain = 2 / (k + counts) @ with_label
        samples.append(np.partition(gain, labels - k)[labels - k :].sum())
    same = np.unique(np.packbits(true, axis=1), axis=0, return_counts=True)[1]
    return (
        np.maximum(positives, n - positives).sum() / true.size,
        same.max() / n,
        micro.max(),
        _mean(f_beta(positives, positives, n)[present]),
        max(samples) / n,
    )


def _ranking(logits, true, equal):
    """What the AP of resamples needs of a label, from its largest logit on; its AUC.

    Two matrices of 0 and 1 (T, N), for the T sets of ties that have a positive: these
    positives, and the rows from the set before (without) down to this one (with).
    """
    order = logits.argsort()
    ranks, rows = _ranks(logits[order], equal)[::-1], order[::-1].astype(np.int32)
    hits = np.flatnonzero(true[rows])
    ends = np.flatnonzero(np.diff(ranks, append=0)) + 1
    ties, starts = np.unique(np.searchsorted(ends, hits, "right"), return_index=True)
    seen, bounds = np.append(0, ends[ties]), np.append(starts, len(hits))
    matrices = [
        csr_array(
            (np.ones(len(chosen), np.float32), chosen, within),
            shape=(len(ties), len(rows)),
        )
        for chosen, within in [(rows[hits], bounds), (rows[: seen[-1]], seen)]
    ]
    one_class = len(hits) in (0, len(rows))
    return matrices, np.nan if one_class else roc_auc_score(true[rows], ranks)


def _average_precision(hits, seen, weights):
    """AP of one label where rows have weights (N, B), as scikit-learn's: (B,)."""
    found = (hits @ weights).astype(float)
    predicted = (seen @ weights).cumsum(0, dtype=float)
    gained = found.cumsum(0) / np.maximum(predicted, 1) * found
    return _ratio(gained.sum(0), found.sum(0))


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
