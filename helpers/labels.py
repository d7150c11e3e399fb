"""Labels: ImageNet's 1000 classes by name, the 16 everyday categories that 207 of them belong to, ImageNet-A's 200.

The categories are those of Geirhos et al. 2019 (arXiv:1811.12231), the 200 classes those of Hendrycks et al. 2021 (arXiv:1907.07174).
See the chapters "One label, several labels, one of several" and "1000 classes, 16 categories".
"""

import csv
import math
from functools import cache
from importlib.resources import files

import torch

RULES = ("mean", "sum", "max")


@cache
def _table():
    with (
        files("helpers")
        .joinpath("data/imagenet_classes.csv")
        .open(encoding="utf-8", newline="") as file
    ):
        return list(csv.DictReader(file))


def class_names():
    """The 1000 class names by index, each the first of its WordNet synonyms, as a list of strings.

    They are not all different: "crane" and "maillot" name two classes each.
    """
    return [row["name"].split(",")[0] for row in _table()]


def wnids():
    """The 1000 WordNet ids by index ("n01440764", ...), as a list of strings. They are all different, and sorted."""
    return [row["wnid"] for row in _table()]


def categories():
    """The 16 categories in alphabetical order: a dict from name to the list of its ImageNet class indices."""
    members = {}
    for row in _table():
        if row["category"]:
            members.setdefault(row["category"], []).append(int(row["index"]))
    return dict(sorted(members.items()))


def imagenet_a():
    """The ImageNet class indices of ImageNet-A's 200 classes, ascending: its class j is imagenet_a()[j]."""
    return [int(row["index"]) for row in _table() if row["imagenet_a"]]


def class_index(names):
    """WordNet ids, such as the folder names of an ImageNet copy, to ImageNet class indices 0..999: int64 (len(names),).

    Raises ValueError naming the first id that is not one of the 1000.
    """
    return _positions(names, wnids(), "WordNet id of ImageNet's 1000 classes")


def category_index(names):
    """Category names, such as the folder names of a 16-category set, to positions 0..15: int64 (len(names),).

    Raises ValueError naming the first one that is not a category.
    """
    return _positions(names, list(categories()), "name of the 16 categories")


def category_targets(targets):
    """ImageNet class indices 0..999, int64 of any shape, to category indices 0..15 of that shape.

    Raises ValueError naming the first class that belongs to no category, or that is not an index 0..999.
    """
    return _lookup(targets, list(categories().values()), "any of the 16 categories")


def imagenet_a_targets(targets):
    """ImageNet class indices 0..999, int64 of any shape, to ImageNet-A's 0..199 of that shape.

    Raises ValueError naming the first class that is not in ImageNet-A, or that is not an index 0..999.
    """
    return _lookup(targets, [[index] for index in imagenet_a()], "ImageNet-A")


def imagenet_a_scores(scores):
    """The 200 ImageNet-A columns of scores (..., 1000), logits or any others: (..., 200).

    Take them before argmax or softmax: the 800 other classes are no answers there.
    Raises ValueError for another shape or dtype than float32 or float64, no rows, or values that are not finite.
    """
    _check("scores", scores)
    return scores[..., imagenet_a()]


def category_probabilities(probabilities, rule="mean"):
    """Class probabilities (..., 1000) to one score per category: (..., 16), same dtype and device, differentiable.

    rule: "sum" adds the probabilities of the category's classes: the probability that the image shows any of them. "mean"
    divides that by the number of classes: right where the categories, and not the classes, are equally frequent
    (Geirhos et al. 2018, arXiv:1808.08750, appendix). "max" takes the largest. Rows of the result do not sum to one.
    Raises ValueError for an unknown rule, another shape or dtype than float32 or float64, no rows, or values that are not
    probabilities (not finite, negative, or not summing to one).
    """
    _check_rule(rule)
    low = _check("probabilities", probabilities)
    weights = probabilities.new_ones(
        1000, 17
    )  # the last column gives each row's total, in the same pass over the data
    weights[:, :16] = 0
    for column, members in enumerate(categories().values()):
        weights[members, column] = 1 if rule == "sum" else 1 / len(members)
    scores, total = (probabilities @ weights).split([16, 1], -1)
    off = (total.detach() - 1).abs()
    if low < 0 or off.max() > 1e-4:
        raise ValueError(
            "probabilities must not be negative and must sum to 1 over the last dimension (apply softmax to all 1000 logits first): "
            f"the smallest is {low:.4g}, and one row sums to {total.flatten()[off.argmax()]:.4g}"
        )
    if rule == "max":
        return torch.stack(
            [probabilities[..., members].amax(-1) for members in categories().values()],
            -1,
        )
    return scores


def category_logits(logits, rule="mean"):
    """The logarithm of `category_probabilities` straight from the logits (..., 1000), exact where probabilities underflow: (..., 16).

    log mean = log sum - log(number of classes): the mean is the sum with its logits adjusted for the categories' sizes
    (Menon et al. 2021, arXiv:2007.07314). Raises ValueError as `category_probabilities`.
    """
    _check_rule(rule)
    _check("logits", logits)
    log_p = logits.log_softmax(-1)
    if rule == "max":
        return torch.stack(
            [log_p[..., members].amax(-1) for members in categories().values()], -1
        )
    return torch.stack(
        [
            log_p[..., members].logsumexp(-1)
            - (math.log(len(members)) if rule == "mean" else 0)
            for members in categories().values()
        ],
        -1,
    )


def _positions(names, known, what):
    position = {name: index for index, name in enumerate(known)}
    for name in names:
        if name not in position:
            raise ValueError(f"{name!r} is no {what}")
    return torch.tensor([position[name] for name in names], dtype=torch.int64)


def _lookup(targets, groups, where):
    if not isinstance(targets, torch.Tensor) or targets.dtype != torch.int64:
        raise ValueError(
            f"targets must be an int64 tensor of class indices, got {getattr(targets, 'dtype', type(targets).__name__)}"
        )
    outside = targets[(targets < 0) | (targets > 999)]
    if outside.numel():
        raise ValueError(
            f"targets must be class indices 0..999, got {outside[0].item()}"
        )
    table = torch.full((1000,), -1)
    for position, members in enumerate(groups):
        table[members] = position
    found = table.to(targets.device)[targets]
    if (found < 0).any():
        index = targets[found < 0][0].item()
        raise ValueError(
            f"class {index} ({class_names()[index]}) does not belong to {where}"
        )
    return found


def _check(name, scores):
    """The smallest value of scores, if they are (..., 1000) and finite."""
    if not isinstance(scores, torch.Tensor) or scores.dtype not in (
        torch.float32,
        torch.float64,
    ):
        raise ValueError(
            f"{name} must be a float32 or float64 tensor, got {getattr(scores, 'dtype', type(scores).__name__)}"
        )
    if scores.ndim == 0 or scores.shape[-1] != 1000 or scores.numel() == 0:
        raise ValueError(
            f"{name} must have shape (..., 1000) and at least one row, got {tuple(scores.shape)}"
        )
    low, high = (
        scores.detach().aminmax()
    )  # both NaN where any value is, without a copy of the scores
    if not (low.isfinite() and high.isfinite()):
        raise ValueError(
            f"{name} must be finite, got values from {low:.4g} to {high:.4g}"
        )
    return low


def _check_rule(rule):
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
