"""Labels: ImageNet's 1000 classes by name, 16 everyday categories, ImageNet-A's 200.

207 of the classes belong to the categories, those of Geirhos et al. 2019
(arXiv:1811.12231); the 200 classes are those of Hendrycks et al. 2021
(arXiv:1907.07174). See the chapter "1000 ImageNet classes to 16 categories".
"""

import csv
import math
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import torch

RULES = ("mean", "sum", "max")
BLOCK = (
    256  # rows, 2 MB of them: they stay in the cache while they are checked and used
)


@cache
def _table():
    with (
        files("helpers")
        .joinpath("data/imagenet_classes.csv")
        .open(encoding="utf-8", newline="") as file
    ):
        return list(csv.DictReader(file))


def class_names() -> list[str]:
    """The 1000 class names by index, each the first of its WordNet synonyms.

    They are not all different: "crane" and "maillot" name two classes each.
    """
    return [row["name"].split(",")[0] for row in _table()]


def wnids() -> list[str]:
    """The 1000 WordNet ids by index ("n01440764", ...): all different, and sorted."""
    return [row["wnid"] for row in _table()]


def categories() -> dict[str, list[int]]:
    """The ImageNet class indices of each category, all 16 in alphabetical order."""
    members = {}
    for row in _table():
        if row["category"]:
            members.setdefault(row["category"], []).append(int(row["index"]))
    return dict(sorted(members.items()))


def imagenet_a() -> list[int]:
    """The ImageNet class indices of ImageNet-A's 200 classes, ascending.

    Its class j is imagenet_a()[j].
    """
    return [int(row["index"]) for row in _table() if row["imagenet_a"]]


def class_index(names: Iterable[str]) -> torch.Tensor:
    """WordNet ids to ImageNet class indices 0..999: int64 (len(names),).

    The ids are the folder names of an ImageNet copy, for instance.
    Raises ValueError for one bare string, and naming the first id that is not one of
    the 1000.
    """
    return _positions(names, wnids(), "WordNet id of ImageNet's 1000 classes")


def category_index(names: Iterable[str]) -> torch.Tensor:
    """Category names to positions 0..15: int64 (len(names),).

    The names are the folder names of a set with 16 categories, for instance.
    Raises ValueError for one bare string, and naming the first that is no category.
    """
    return _positions(names, list(categories()), "name of the 16 categories")


def category_targets(targets: torch.Tensor) -> torch.Tensor:
    """ImageNet class indices 0..999 to category indices 0..15: int64 of any shape.

    Raises ValueError naming the first class that belongs to no category, or that is not
    an index 0..999.
    """
    return _lookup(targets, list(categories().values()), "any of the 16 categories")


def imagenet_a_targets(targets: torch.Tensor) -> torch.Tensor:
    """ImageNet class indices 0..999 to ImageNet-A's 0..199: int64 of any shape.

    Raises ValueError naming the first class that is not in ImageNet-A, or that is not
    an index 0..999.
    """
    return _lookup(targets, [[index] for index in imagenet_a()], "ImageNet-A")


def imagenet_a_scores(scores: torch.Tensor) -> torch.Tensor:
    """The 200 ImageNet-A columns of scores (..., 1000), of any kind: (..., 200).

    Take them before argmax or softmax: the 800 other classes are no answers there.
    Raises ValueError for another shape or dtype than float32 or float64, no rows, or
    values that are not finite.
    """
    _check_shape("scores", scores)
    _check_finite("scores", scores)
    return scores[..., imagenet_a()]


def category_probabilities(
    probabilities: torch.Tensor, rule: str = "mean"
) -> torch.Tensor:
    """Class probabilities (..., 1000) to one score per category: (..., 16).

    Of the same dtype and device, and differentiable.
    rule: "sum" adds the probabilities of the category's classes: the probability that
    the image shows any of them. "mean" divides that by the number of classes: right
    where the categories, and not the classes, are equally frequent (Geirhos et al.
    2018, arXiv:1808.08750, appendix). "max" takes the largest. Rows of the result do
    not sum to one.
    Raises ValueError for an unknown rule, another shape or dtype than float32 or
    float64, no rows, or values that are not probabilities (not finite, negative, or not
    summing to one).
    """
    _check_rule(rule)
    _check_shape("probabilities", probabilities)
    groups = list(categories().values())
    sizes = [len(members) for members in groups]
    members = torch.tensor(sum(groups, []), device=probabilities.device)
    weights = torch.block_diag(
        *(
            probabilities.new_full((1, size), 1 if rule == "sum" else 1 / size)
            for size in sizes
        )
    )
    lows, totals, scores = [], [], []
    for rows in probabilities.reshape(-1, 1000).split(BLOCK):
        lows.append(rows.detach().amin())
        totals.append(rows.detach().sum(-1))
        chosen = rows.T[members]  # several times faster than rows[:, members]
        if rule == "max":
            chosen = torch.stack([part.amax(0) for part in chosen.split(sizes)])
        else:
            chosen = weights @ chosen
        scores.append(chosen.T)
    low, total = torch.stack(lows).min(), torch.cat(totals)
    off = (total - 1).abs()
    if not (low >= 0 and off.max() <= 1e-4):
        _check_finite("probabilities", probabilities)
        raise ValueError(
            "probabilities must not be negative and must sum to 1 over the last "
            "dimension (apply softmax to all 1000 logits first): "
            f"the smallest is {low:.4g}, and one row sums to {total[off.argmax()]:.4g}"
        )
    return torch.cat(scores).reshape(*probabilities.shape[:-1], 16)


def category_logits(logits: torch.Tensor, rule: str = "mean") -> torch.Tensor:
    """The logarithm of `category_probabilities`, from logits (..., 1000): (..., 16).

    It is exact where probabilities underflow. log mean = log sum - log(number of
    classes): the mean is the sum with its logits adjusted for the categories' sizes
    (Menon et al. 2021, arXiv:2007.07314).
    Raises ValueError for an unknown rule, and as `imagenet_a_scores`.
    """
    _check_rule(rule)
    _check_shape("logits", logits)
    _check_finite("logits", logits)
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
    if isinstance(names, str):
        raise ValueError(f"names must be several strings, got one, {names!r}")
    position = {name: index for index, name in enumerate(known)}
    names = list(names)
    for name in names:
        if not isinstance(name, str) or name not in position:
            raise ValueError(f"{name!r} is no {what}")
    return torch.tensor([position[name] for name in names], dtype=torch.int64)


def _lookup(targets, groups, where):
    if _dtype(targets) != torch.int64:
        raise ValueError(
            f"targets must be an int64 tensor of class indices, got {_dtype(targets)}"
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


def _dtype(values):
    """The dtype of a tensor; the type's name of anything else."""
    return values.dtype if isinstance(values, torch.Tensor) else type(values).__name__


def _check_shape(name, scores):
    if _dtype(scores) not in (torch.float32, torch.float64):
        raise ValueError(
            f"{name} must be a float32 or float64 tensor, got {_dtype(scores)}"
        )
    if scores.ndim == 0 or scores.shape[-1] != 1000 or scores.numel() == 0:
        raise ValueError(
            f"{name} must have shape (..., 1000) and at least one row, "
            f"got {tuple(scores.shape)}"
        )


def _check_finite(name, scores):
    # Both ends are NaN where any value is; `isfinite` would make a copy of the scores.
    low, high = scores.detach().aminmax()
    if not (low.isfinite() and high.isfinite()):
        raise ValueError(
            f"{name} must be finite, got values from {low:.4g} to {high:.4g}"
        )


def _check_rule(rule):
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
