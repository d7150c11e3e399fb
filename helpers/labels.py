"""Labels: ImageNet's 1000 classes by name, and the 16 everyday categories that 207 of them belong to.

The categories are those of Geirhos et al. 2019 (arXiv:1811.12231). See the chapter "One label, several labels, one of several".
"""

import csv
from functools import cache
from importlib.resources import files


@cache
def _table():
    with files("helpers").joinpath("data/imagenet_classes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def class_names():
    """The 1000 class names by index, each the first of its WordNet synonyms, as a list of strings.

    They are not all different: "crane" and "maillot" name two classes each.
    """
    return [row["name"].split(",")[0] for row in _table()]


def categories():
    """The 16 categories in alphabetical order: a dict from name to the list of its ImageNet class indices."""
    members = {}
    for row in _table():
        if row["category"]:
            members.setdefault(row["category"], []).append(int(row["index"]))
    return dict(sorted(members.items()))
