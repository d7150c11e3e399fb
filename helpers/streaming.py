"""Streaming: the scores of more rows than fit into memory.

Counts are all that F and the accuracies need, so these are exact. Average precision and
AUC need the order of all rows, which is kept only up to bins of the logits. When to use
this: see the chapter "Many GPUs, many labels".
"""

import zlib

import numpy as np
import torch
from scipy.special import expit, logit, psi
from torch import distributed as dist

from helpers import metrics
from helpers.checks import (
    check_integer,
    check_scores,
    check_targets,
    check_threshold,
    to_numpy,
)
from helpers.decide import f_beta

LARGEST = 32  # in size; logits beyond are in the first and the last bin
CELLS = 2**20  # counted at once
NEAR = 1e-3  # logits further from a threshold than this need no expit


class StreamingScores:
    """Multi-label scores of rows that come in blocks, which are not kept.

    labels: how many there are. threshold, names: as for `metrics.evaluate_logits`.
    bins: of the logits from -32 to 32, equally wide; at least 2. They take 8 bytes for
        each bin and label. Logits beyond are counted in the first and the last bin.
    """

    def __init__(self, labels, *, threshold=0.5, names=None, bins=2048):
        check_integer("labels", labels, 1)
        check_integer("bins", bins, 2)
        self.labels, self.bins = labels, bins
        self.dtype = None  # of the logits
        self.first = None  # the checksum of a block, to know it on another rank
        self.thresholds = check_threshold(threshold, labels, 0, 1)
        self.index = metrics._label_index(names, labels)
        # All, right in every label, without a label, rightly predicted to be without.
        self.rows = np.zeros(4, np.int64)
        # Of each label tp, support, and how often it is predicted.
        self.cells = np.zeros((3, labels), np.int64)
        # tp of the rows that have so many labels, the true and the predicted together:
        # integers, so that their F has a sum without rounding.
        self.sizes = np.zeros(2 * labels + 1, np.int64)
        # Rows, and positives, whose logit of a label is in a bin.
        self.histograms = np.zeros((2, labels * bins), np.int32)

    def update(self, logits, targets):
        """Count the rows of logits (B, K) and targets (B, K).

        They are as for `metrics.evaluate_logits`, with one dtype of logits throughout.
        Raises ValueError for anything else, and then counts none of them.
        """
        logits = check_scores("logits", logits)
        if isinstance(targets, torch.Tensor) and targets.dtype == torch.bool:
            targets = to_numpy(targets)  # which compares booleans faster
        true = check_targets(targets, logits.shape)
        dtype = self.dtype or logits.dtype
        if logits.shape[1] != self.labels or logits.dtype != dtype:
            raise ValueError(
                f"logits must have {self.labels} columns of {dtype}, "
                f"got {logits.shape[1]} of {logits.dtype}"
            )
        self.dtype = dtype
        size = max(1, CELLS // self.labels)
        if self.first is None and (logits[:size] != logits[0]).any():
            of_logits = zlib.crc32(logits[:size].tobytes())
            self.first = zlib.crc32(true[:size].tobytes(), of_logits)
        for start in range(0, len(logits), size):
            self._count(logits[start : start + size], true[start : start + size])

    def _count(self, logits, true):
        said = self._predicted(logits)
        parts = said & true, true, said
        self.cells += [np.count_nonzero(part, 0) for part in parts]
        tp, support, predicted = (np.count_nonzero(part, 1) for part in parts)
        size = support + predicted
        kinds = size >= 0, 2 * tp == size, support == 0, size == 0
        self.rows += np.count_nonzero(kinds, 1)
        np.add.at(self.sizes, size, tp)
        place = np.clip(logits, -LARGEST, LARGEST)
        place += LARGEST
        place *= self.bins / (2 * LARGEST)
        place = np.minimum(place, self.bins - 1, out=place).astype(np.int64)
        place += np.arange(self.labels) * self.bins
        for histogram, at in zip(self.histograms, (place.ravel(), place[true])):
            np.add.at(histogram, at, np.int32(1))

    def _predicted(self, logits):
        """What `metrics.evaluate_logits` predicts, faster."""
        enough = self.thresholds * (1 - metrics.EQUAL[logits.dtype.name])
        low, high = (
            (logit(enough) + shift).astype(logits.dtype) for shift in (-NEAR, NEAR)
        )
        said = logits >= high
        near = divmod(np.flatnonzero((logits >= low) & ~said), self.labels)
        said[near] = expit(logits[near].astype(float)) >= enough[near[1]]
        return said

    def compute(self) -> metrics.Evaluation:
        """The scores of all rows so far.

        As those of `metrics.evaluate_logits`, but without intervals; and
        - ap and auc are means over all orders of the rows within each bin. ap_least and
          ap_most, further columns of `labels`, are bounds of the exact ap. With spread
          logits, prevalences from 0.3 to 0.0005 and 100,000 rows, ap was within 0.005.
        - the best constant label set for exact_match and samples_f1 is not known: nan.
        In a group of torch.distributed every rank must call this, and each gets the
        scores of the rows of all ranks, of which some may have none.
        Raises ValueError for no rows or 2**31 rows and more, and where the ranks have
        different arguments, logits of different dtypes, or the same first block: no
        other repeats are noticed.
        """
        rows, cells, sizes, histograms = self._of_all_ranks()
        (rows, exact, unlabelled, empty), (tp, support, said) = rows.tolist(), cells
        if not 0 < rows < 2**31:
            raise ValueError(f"update must have seen 1 to 2**31 - 1 rows, got {rows}")
        from_largest = histograms.reshape(2, self.labels, self.bins)[:, :, ::-1]
        ap, least, most, auc = np.transpose([*map(_of_bins, *from_largest)])
        f1 = np.where(support > 0, f_beta(tp, support, said), np.nan)
        positives, present = support.sum(), np.flatnonzero(support)
        frequent = np.sort(support)[::-1].cumsum()
        labels = np.arange(1, 2 * self.labels + 1)
        size_f1 = (2 * sizes[1:] / labels).sum()
        chance = metrics._mean(support[present] / rows)
        none = 0.0 if positives else np.nan
        scores = metrics._score_table(
            self.labels - len(present),
            model=[
                1 - (positives + said.sum() - 2 * tp.sum()) / (rows * self.labels),
                exact / rows,
                float(f_beta(tp.sum(), positives, said.sum(), empty=np.nan)),
                metrics._mean(f1[present]),
                (empty + size_f1) / rows,
                metrics._mean(ap[present]),
            ],
            nothing=[
                1 - positives / (rows * self.labels),
                unlabelled / rows,
                none,
                none,
                unlabelled / rows,
                chance,
            ],
            constant=[
                np.maximum(support, rows - support).sum() / (rows * self.labels),
                np.nan,
                f_beta(frequent, positives, rows * labels[: self.labels]).max(),
                metrics._mean(f_beta(support, support, rows)[present]),
                np.nan,
                chance,
            ],
        )
        bounds = {"ap_least": least, "ap_most": most}
        of_labels = {"f1": f1, "ap": ap, **bounds, "auc": auc}
        return metrics.Evaluation(
            scores,
            metrics._label_table(self.index, rows, tp, support, said, **of_labels),
        )

    def _of_all_ranks(self):
        """The counts as arrays: their sums over ranks, if there are several."""
        counts = [self.rows, self.cells, self.sizes, self.histograms]
        if not (dist.is_available() and dist.is_initialized()):
            return counts
        told = [None] * dist.get_world_size()
        arguments = self.labels, self.bins, self.thresholds.tolist(), [*self.index]
        dist.all_gather_object(told, (arguments, self.dtype, self.first))
        if any(theirs != arguments for theirs, _, _ in told):
            raise ValueError("labels, bins, threshold, names must not differ by rank")
        if len({dtype for _, dtype, _ in told if dtype}) > 1:
            raise ValueError("logits must have one dtype on all ranks")
        firsts = [first for _, _, first in told if first is not None]
        if len(set(firsts)) < len(firsts):
            raise ValueError(
                f"update must see a share on every rank: use {metrics.SHARE}"
            )
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        counts = [torch.tensor(count, device=device) for count in counts]
        for count in counts:
            dist.all_reduce(count)
        return [count.cpu().numpy() for count in counts]


def _of_bins(rows, hits):
    """AP, its bounds, and AUC of one label, from the bin of the largest logits on."""
    total, negatives = hits.sum(), (rows - hits).sum()
    if not total:
        return [np.nan] * 4
    some = np.flatnonzero(hits)
    n, p = rows[some].astype(float), hits[some].astype(float)
    above, hits_above = rows.cumsum()[some] - n, hits.cumsum()[some] - p
    # A row of the bin is a positive in p / n of the orders, and each row before it then
    # in (p - 1) / (n - 1).
    each = (p - 1) / np.maximum(n - 1, 1)
    ap = (p / n * _sums(hits_above + 1 - each, each, above, n)).sum()
    least = _sums(hits_above, 1, above + n - p, p).sum()
    most = (p * (hits_above + p) / (above + p)).sum()
    behind = negatives - (above - hits_above) - (n - p) / 2
    auc = (p @ behind) / (total * negatives) if negatives else np.nan
    return [ap / total, least / total, most / total, auc]


def _sums(hits, each, rows, n):
    """The sums of (hits + each i) / (rows + i) for i from 1 to n."""
    return n * each + (hits - each * rows) * (psi(rows + n + 1) - psi(rows + 1))
