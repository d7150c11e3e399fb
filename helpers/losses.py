"""Losses for samples whose labels are not all known: missing, coarse, or one of many.

Each takes logits and returns a scalar, the mean over the batch. Logits of float16 and
bfloat16, also under autocast, are raised to float32: a sum over many labels would
overflow or lose its digits. At logits of 10,000 losses and gradients are finite.
Each raises a ValueError that names the argument where it would learn from something
that is no label: wrong shapes, NaN, a -1 that is not masked, an empty set.
"""

import math
from numbers import Real

import torch
from torch import Tensor
from torch.nn import functional as F


def masked_bce(
    logits: Tensor, targets: Tensor, known: Tensor, *, unknown_weight: float = 0.0
) -> Tensor:
    """Binary cross-entropy of the known cells, divided by the number of all cells.

    logits: (..., K), finite. targets: (..., K), 0, 1 or between where `known` is True;
    anything elsewhere, NaN too. known: bool (..., K). Where -1 marks what is unknown:
    masked_bce(logits, targets, targets >= 0).
    unknown_weight: what unknown cells count, as if they were 0. With 0.0 they are
    masked, 1.0 is assume-negative, and 1 / (K - 1) are weak negatives for rows with one
    known label (Cole et al. 2021, arXiv:2106.09708).

    All known, it is the usual mean. The division by all cells keeps the weight of a
    known cell the same, whatever else of its batch is known.
    Raises ValueError for other shapes, dtypes or values, and for an unknown_weight that
    is negative or not finite.
    See the chapter "Missing labels: single-label and multi-label samples together".
    """
    logits = _in_float32(logits)
    _check_tensor("targets", targets, logits.shape)
    _check_tensor("known", known, logits.shape, torch.bool)
    if not isinstance(unknown_weight, Real) or not 0 <= unknown_weight < math.inf:
        raise ValueError(
            "unknown_weight must be one number, at least 0 and finite, got "
            f"{unknown_weight}"
        )
    # Before the loss: a NaN that is multiplied by 0 is NaN, and so is its gradient.
    targets = torch.where(known, targets, 0).to(logits.dtype)
    low, high = _read(logits, *targets.detach().aminmax())
    if not 0 <= low <= high <= 1:
        raise ValueError(
            "targets must be from 0 to 1 where known, got values from "
            f"{low:.4g} to {high:.4g}; where -1 marks what is unknown, give "
            "known=targets >= 0"
        )
    weights = torch.full_like(logits, unknown_weight).masked_fill_(known, 1)
    return F.binary_cross_entropy_with_logits(logits, targets, weights)


def marginal_loss(logits: Tensor, candidates: Tensor) -> Tensor:
    """Mean of -log of the probability that the class is one of the row's candidates.

    The probabilities are a softmax over K classes, of which exactly one is true.
    logits: (..., K), finite. candidates: bool (..., K), True for the classes that the
    label allows, at least one in each row: for a coarse label its fine classes, for a
    fine label that one, which is cross-entropy. All of them say nothing: loss 0.

    The gradient of a row's loss is p - q, where q is p restricted to the candidates and
    divided by their sum. A likelihood of candidate labels: Jin & Ghahramani 2002,
    "Learning with multiple labels".
    Raises ValueError for other shapes, dtypes or values, and for empty sets.
    See the chapter "Training on coarse and fine labels together".
    """
    logits = _in_float32(logits)
    _check_tensor("candidates", candidates, logits.shape, torch.bool)
    [some] = _read(logits, candidates.any(-1).all())
    if not some:
        empty = (~candidates.any(-1)).sum()
        raise ValueError(
            "candidates must be True for at least one class in each row, got none in "
            f"{empty} of {logits[..., 0].numel()} rows"
        )
    # Changes nothing but the digits: a difference of large numbers has few.
    logits = logits - logits.detach().amax(-1, keepdim=True)
    allowed = logits.masked_fill(~candidates, -math.inf)
    return (logits.logsumexp(-1) - allowed.logsumexp(-1)).mean()


def chosen_label_loss(logits: Tensor, chosen: Tensor) -> Tensor:
    """-log of the probability that the label `chosen` is the one that is annotated.

    The model: labels are true independently of each other, with probabilities p, the
    sigmoids of the logits, and one of the true labels is drawn uniformly. Then label j
    is annotated with probability p_j E[1 / (1 + S)], S being how many others are true.
    It is not divided by the probability that any label is true.
    logits: (..., K), finite. chosen: int64 (...), from 0 to K - 1.

    E[1 / (1 + S)] is taken as 1 / (1 + E[S]), so that the loss is the mean of
    log(1 + the sum of the other p) - log p_j; with K = 1 it is -log p. By Jensen's
    inequality it is never below the exact one, and for every K at most 0.262 above:
    E[1 / (1 + S)] is the integral over t in 0..1 of the product of 1 - p + p t, each at
    most exp(-p (1 - t)), and so at most (1 - exp(-E[S])) / E[S].
    Raises ValueError for other shapes, dtypes or values.
    See the chapter "Missing labels: single-label and multi-label samples together".
    """
    logits = _in_float32(logits)
    _check_tensor("chosen", chosen, logits.shape[:-1], torch.int64)
    labels = logits.shape[-1]
    low, high = _read(logits, *chosen.aminmax())
    if not 0 <= low <= high < labels:
        raise ValueError(
            f"chosen must be labels from 0 to {labels - 1}, got values from "
            f"{low:.0f} to {high:.0f}"
        )
    column = chosen.unsqueeze(-1)
    others = logits.sigmoid().scatter(-1, column, 0).sum(-1)
    log_p = F.logsigmoid(logits.gather(-1, column)).squeeze(-1)
    return (others.log1p() - log_p).mean()


def _in_float32(logits):
    """The logits, in float32 if they were less precise."""
    _check_tensor("logits", logits)
    if not logits.is_floating_point():
        raise ValueError(f"logits must be floating-point numbers, got {logits.dtype}")
    if logits.ndim == 0 or logits.numel() == 0:
        raise ValueError(
            "logits must have shape (..., K) with at least one row and one label, got "
            f"{tuple(logits.shape)}"
        )
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _check_tensor(name, values, shape=None, dtype=None):
    """A shape that is broadcast would mean something else: it must be the same."""
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(values).__name__}")
    if dtype not in (None, values.dtype):
        raise ValueError(f"{name} must be {dtype}, got {values.dtype}")
    if shape not in (None, values.shape):
        raise ValueError(
            f"{name} must have shape {tuple(shape)} to go with the logits, got "
            f"{tuple(values.shape)}"
        )


def _read(logits, *values):
    """Values (scalar tensors) as numbers, after a check that the logits are finite."""
    # Reading a value waits for the GPU: all are read at once.
    read = torch.stack([*logits.detach().aminmax(), *values])
    low, high, *values = read.tolist()
    if not -math.inf < low <= high < math.inf:
        raise ValueError(
            f"logits must be finite, got values from {low:.4g} to {high:.4g}"
        )
    return values
