"""Metrics: one safe pass over a data loader, with torchmetrics inside.

Many of its lines answer a mistake that the chapter "Why per-logit accuracy is inflated" runs and repairs.
"""

import warnings

import torch
from torchmetrics import MeanMetric
from torchmetrics.classification import (
    MultilabelAveragePrecision,
    MultilabelExactMatch,
    MultilabelStatScores,
)


def evaluate(model, loader, *, threshold=0.5):
    """Multi-label metrics of `model` over all batches of `loader`: a dict of plain Python numbers.

    model: gives logits (B, K), K >= 2. It must not apply a sigmoid itself: nobody can tell probabilities from small logits.
    loader: yields (inputs, targets); targets (B, K) hold 1 where a label is true and 0 elsewhere, in any dtype. Unknown
        cells, such as -1, are refused.
    threshold: a label is predicted where its probability is larger than this; strictly between 0 and 1.

    The model runs on its own device, in eval mode, and every module gets its old mode back. The scores stay on the
    CPU in float64 until the end, 16 bytes per image and label. What has no value is left out, and counted:
    macro_f1 is the mean over labels that are true or predicted at least once, macro_ap (average precision) over
    labels that are true at least once; nan where none is. In samples_f1 a rightly empty prediction counts as 1.

    Raises ValueError for logits or targets of another shape or content, NaN, a bad threshold, an empty loader.
    """
    if not 0 < threshold < 1:
        raise ValueError(
            f"threshold must be a probability strictly between 0 and 1, got {threshold}"
        )
    metrics = None
    device = next((parameter.device for parameter in model.parameters()), "cpu")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            for inputs, targets in loader:
                logits, targets = model(inputs.to(device)).cpu(), targets.cpu()
                _check(logits, targets)
                metrics = metrics or _metrics(logits.shape[1], threshold)
                probabilities, targets = logits.double().sigmoid(), targets.long()
                metrics["counts"].update(probabilities, targets)
                metrics["exact"].update(probabilities, targets)
                metrics["ranking"].update(probabilities, targets)
                metrics["samples"].update(
                    _f1_of_each_row(probabilities > threshold, targets.bool())
                )
    finally:
        for module, training in modes.items():
            module.training = training
    if metrics is None:
        raise ValueError(
            "loader must yield at least one batch of (inputs, targets), got none"
        )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # about labels that are never true: they are left out below
        precision = metrics["ranking"].compute().double()
    tp, fp, tn, fn, positives = metrics["counts"].compute().double().unbind(1)
    cells, used = (tp + fp + tn + fn).sum(), tp + fp + fn > 0
    return {
        "per_logit_accuracy": ((tp + tn).sum() / cells).item(),
        "per_logit_accuracy_of_predicting_nothing": (
            (cells - positives.sum()) / cells
        ).item(),
        "exact_match": metrics["exact"].compute().item(),
        "micro_f1": (2 * tp.sum() / (2 * tp + fp + fn).sum()).item(),
        "macro_f1": (2 * tp / (2 * tp + fp + fn))[used].mean().item(),
        "samples_f1": metrics["samples"].compute().item(),
        "macro_ap": precision[positives > 0].mean().item(),
        "labels_left_out_of_macro_f1": int((~used).sum()),
        "labels_left_out_of_macro_ap": int((positives == 0).sum()),
    }


def _metrics(labels, threshold):
    return {
        "counts": MultilabelStatScores(labels, threshold, average="none"),
        "exact": MultilabelExactMatch(labels, threshold),
        "samples": MeanMetric().set_dtype(torch.float64),
        "ranking": MultilabelAveragePrecision(labels, average="none"),
    }


def _f1_of_each_row(predicted, true):
    # By hand, because torchmetrics' samplewise F1 fails on a batch of one image.
    right, wrong = (predicted & true).sum(1).double(), (predicted != true).sum(1)
    return torch.where(right + wrong > 0, 2 * right / (2 * right + wrong), 1.0)


def _check(logits, targets):
    shape, asked = tuple(logits.shape), "rows of 0 and 1, one column per label"
    if logits.ndim != 2 or shape[0] == 0 or shape[1] < 2:
        raise ValueError(
            f"logits must have shape (B, K) with B >= 1 and K >= 2, got {shape}"
        )
    if not logits.is_floating_point() or logits.isnan().any():
        raise ValueError(
            f"logits must be floating-point numbers without NaN, got others in {logits.dtype}, shape {shape}"
        )
    if targets.shape != logits.shape:
        raise ValueError(
            f"targets must be {asked}, of the logits' shape {shape}, got shape {tuple(targets.shape)}"
        )
    strange = targets[(targets != 0) & (targets != 1)]
    if len(strange):
        raise ValueError(
            f"targets must be {asked}, got {strange[0].item()} in shape {shape}"
        )
