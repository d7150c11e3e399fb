"""Checks: what several helpers ask of scores, targets and thresholds.

Each raises a ValueError that names the argument, what it got and what was expected, or
returns the array or tensor that it checked as a NumPy array.
"""

from numbers import Integral, Real

import numpy as np
import torch


def check_scores(name, scores, low=-np.inf, high=np.inf) -> np.ndarray:
    """Finite scores (N, K) from low to high, float32 or float64: tensor or array."""
    dtype = str(scores.dtype) if _is_array(scores) else type(scores).__name__
    if dtype.removeprefix("torch.") not in ("float32", "float64"):
        raise ValueError(
            f"{name} must be a tensor or NumPy array of float32 or float64, got {dtype}"
        )
    scores = to_numpy(scores)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(
            f"{name} must have shape (N, K) with at least one row and one label, "
            f"got {scores.shape}"
        )
    smallest, largest = scores.min(), scores.max()  # both NaN where any value is
    if not (
        np.isfinite([smallest, largest]).all() and low <= smallest <= largest <= high
    ):
        asked = "finite" if np.isinf(high) else f"probabilities from {low} to {high}"
        raise ValueError(
            f"{name} must be {asked}, got values from {smallest:.4g} to {largest:.4g} "
            f"in shape {scores.shape}"
        )
    return scores


def check_targets(targets, shape=None) -> np.ndarray:
    """Targets (N, K) of 0 and 1 in any dtype, tensor or array, as booleans."""
    asked = "a tensor or NumPy array of 0 and 1, shape (N, K), one column per label"
    if shape:
        asked += f", here {tuple(shape)} as the scores"
    if not _is_array(targets):
        raise ValueError(f"targets must be {asked}, got {type(targets).__name__}")
    given = tuple(targets.shape)
    if len(given) != 2 or 0 in given or shape not in (None, given):
        raise ValueError(f"targets must be {asked}, got shape {given}")
    true = targets == 1
    known = targets == 0
    known |= true  # in place: these may be large
    if not known.all():
        raise ValueError(
            f"targets must be {asked}, got {targets[~known][0]} in shape {given}"
        )
    return to_numpy(true)


def check_threshold(threshold, labels, low=-np.inf, high=np.inf) -> np.ndarray:
    """One threshold or one per label, strictly between low and high: (labels,)."""
    asked = f"one number or one for each of the {labels} labels"
    try:
        values = to_numpy(threshold)
    except (TypeError, ValueError):  # such as lists of unequal lengths
        values = np.array(None)
    if values.dtype.kind not in "iuf":
        raise ValueError(
            f"threshold must be {asked}, got {threshold!r} ({type(threshold).__name__})"
        )
    if values.shape not in ((), (labels,)):
        raise ValueError(f"threshold must be {asked}, got shape {values.shape}")
    wrong = values[~((low < values) & (values < high))]
    if wrong.size:
        between = "finite" if np.isinf(high) else f"strictly between {low} and {high}"
        raise ValueError(f"threshold must be {between}, got {wrong[0]}")
    return np.broadcast_to(values.astype(np.float64), (labels,))


def check_beta(beta) -> None:
    """The beta of F-beta: one number, positive and finite."""
    if not isinstance(beta, Real) or not 0 < beta < np.inf:
        raise ValueError(f"beta must be one number, positive and finite, got {beta}")


def check_integer(name, value, least=0) -> None:
    """An integer, no boolean, of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"{name} must be an integer of at least {least}, got {value!r}"
        )


def to_numpy(values) -> np.ndarray:
    """A tensor, array, list or number as an array, without a copy where possible."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def _is_array(values):
    # A masked array's mask would be lost silently.
    return isinstance(values, (torch.Tensor, np.ndarray)) and not np.ma.isMA(values)
