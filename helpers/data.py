"""Data: real label sets, published results and the small made-up worlds of the book.

Nothing here is downloaded: it is generated, or stands in this package or in an
installed one. Sources and licences of the tables: `helpers/data/SOURCES.md`.
"""

import json
from collections.abc import Iterable
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits

from helpers.checks import check_integer
from helpers.labels import categories


def real_labels() -> list[list[int]]:
    """The ReaL labels of ImageNet's 50,000 validation images: class indices (0..999).

    ReaL ("reassessed labels") lists every label that human raters found valid, for some
    images none (Beyer et al. 2020, arXiv:2006.07159, Apache-2.0). The file ships inside
    the timm package.
    See the chapter "Multi-class, multi-label or one of several".
    Raises FileNotFoundError, naming the timm version, where timm is too old to have it.
    """
    path = (
        Path(find_spec("timm").submodule_search_locations[0])
        / "data/_info/imagenet_real_labels.json"
    )
    if not path.exists():
        raise FileNotFoundError(
            f"timm {version('timm')} does not contain the ReaL labels; "
            "timm 0.9.0 or newer does"
        )
    return json.loads(path.read_text("utf-8"))


def imagenet_a_results() -> pd.DataFrame:
    """Published top-1 accuracy on ImageNet and on ImageNet-A, in per cent.

    1,555 rows for 1,265 models, some at several image sizes, with columns model,
    img_size (pixels), top1_imagenet and top1_imagenet_a.
    See the chapter "Why multi-label accuracy is 99 %".
    """
    return pd.read_csv(files("helpers").joinpath("data/timm_imagenet_a.csv"))


def shape_bias_counts() -> pd.DataFrame:
    """How 16 published networks and 10 people named the cue-conflict images.

    Of the 1,200 whose shape and texture differ, with columns observer, trained_on
    (empty for people), and the counts shape, texture and other. Counted in the raw
    trials of Geirhos et al. 2019 (arXiv:1811.12231).
    See the chapter "1000 ImageNet classes to 16 categories".
    """
    return pd.read_csv(
        files("helpers").joinpath("data/shape_bias.csv"), keep_default_na=False
    )


def ppo_on_tanks() -> tuple[int, np.ndarray]:
    """Stable-Baselines3's PPO on `helpers.actuators.Tanks`: (steps, distances).

    steps: how many were played in all. distances: from the targets, in cm, after each
    tenth of them, (8 seeds, 10). Measured by `make ppo`. See the chapter
    "Reinforcement learning with six on/off actuators".
    """
    path = files("helpers").joinpath("data/ppo_tanks.json")
    table = json.loads(path.read_text("utf-8"))
    return table["steps"], np.array(table["distance_cm"])


def scale_measurements() -> pd.DataFrame:
    """What a step and an evaluation take with 100 to 100,000 labels, on one thread.

    Columns: what (of four, and in the last row streaming 1,000,000 rows), labels,
    seconds (of the processor) and megabytes (by which the process grew): of a step with
    256 rows and 64 inputs, of an evaluation of 2,000 rows, exact (to 10,000 labels) or
    streaming with 256 bins; of the million rows with 2,048. Measured by `make scale`.
    See the chapter "Many GPUs, many labels".
    """
    return pd.read_csv(files("helpers").joinpath("data/scale.csv"))


def yeast() -> tuple[torch.Tensor, torch.Tensor]:
    """2,417 genes of yeast: (inputs, targets), float64 (2417, 103) and (2417, 14).

    Inputs: what micro-array experiments and the phylogenetic profile say of each gene,
    in no unit. Targets: multi-hot, 4.24 of the 14 groups of functions per gene
    (Elisseeff & Weston 2001, "A kernel method for multi-labelled classification").
    See the chapter "pos_weight".
    """
    with files("helpers").joinpath("data/yeast.npz").open("rb") as file:
        stored = dict(np.load(file))
    inputs, targets = stored["millionths"] / 1e6, stored["targets"].astype(float)
    return tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in (inputs, targets))


def rater_votes() -> pd.DataFrame:
    """Is this class in this image? 1,135 questions, 78 raters' and 5 experts' answers.

    One row per question, in 155 blocks, one per image, 2 to 37 questions each. Columns:
    image (0 to 154); file (1 to 50,000, the number in the validation image's name: its
    labels are `real_labels()[file - 1]`); label (ImageNet class, 0 to 999); yes, maybe
    (how many raters said so); share (yes and half of maybe, of 78); experts (how many
    said yes); truth (1 where at least 3 did, else 0).
    The votes by which the ReaL labels were made (Beyer et al. 2020, arXiv:2006.07159).
    See the chapter "Thresholds: from probabilities to a set of labels".
    """
    table = pd.read_csv(files("helpers").joinpath("data/rater_votes.csv.bz2"))
    yes, maybe = (table["raters"].str.count(letter) for letter in "ym")
    experts = table["experts"].str.count("y")
    return pd.DataFrame(
        {
            "image": pd.factorize(table["image"])[0],
            "file": table["image"],
            "label": table["label"],
            "yes": yes,
            "maybe": maybe,
            "share": (yes + maybe / 2) / 78,
            "experts": experts,
            "truth": (experts >= 3).astype(int),
        }
    )


def gaussian_classes(
    n_classes: int,
    n_train: int,
    n_test: int,
    seeds: Iterable[int],
    *,
    n_features: int = 20,
) -> tuple[torch.Tensor, ...]:
    """One made-up world per seed: inputs scatter around their class's random centre.

    Returns (train inputs, train labels, test inputs, test labels). Inputs are float64
    of shape (S, N, n_features); labels int64 of shape (S, N), classes equally likely.
    Centres and scatter are standard normal, so a tenth as many classes are much easier
    to tell apart.
    See the chapter "Which loss, and how many".
    Raises ValueError for a size that is no integer of at least 1, no seeds, or a seed
    that is no integer of at least 0.
    """
    _check_sizes(
        n_classes=n_classes, n_train=n_train, n_test=n_test, n_features=n_features
    )
    inputs, labels = [], []
    for random in _generators(seeds):
        centres = random.standard_normal((n_classes, n_features))
        label = random.integers(n_classes, size=n_train + n_test)
        inputs.append(
            centres[label] + random.standard_normal((n_train + n_test, n_features))
        )
        labels.append(label)
    x, y = torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(labels))
    return x[:, :n_train], y[:, :n_train], x[:, n_train:], y[:, n_train:]


def coarse_world(
    n_fine: int, n_coarse: int, n_test: int, seeds: Iterable[int]
) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """One made-up world per seed: 207 classes form the 16 categories of ImageNet.

    The categories have their real sizes; each class has a centre near its category's
    centre, in 20 dimensions. Returns four pairs (inputs, classes): for training, n_fine
    points of equally frequent classes and n_coarse of equally frequent *categories* (of
    these a learner should know the category only); for testing, n_test of either kind.
    Inputs are float64 (S, N, 20); classes int64 (S, N), 0 to 206, in the order of the
    categories.
    See the chapter "pos_weight".
    Raises ValueError as `gaussian_classes`.
    """
    _check_sizes(n_fine=n_fine, n_coarse=n_coarse, n_test=n_test)
    sizes = np.array([len(members) for members in categories().values()])
    category_of = np.repeat(np.arange(16), sizes)
    equal_classes, equal_categories = (
        np.full(207, 1 / 207),
        1 / (16 * sizes[category_of]),
    )
    worlds = []
    for random in _generators(seeds):
        centres = random.standard_normal((16, 20))[
            category_of
        ] + 0.7 * random.standard_normal((207, 20))
        world = []
        for count, frequency in (
            (n_fine, equal_classes),
            (n_coarse, equal_categories),
            (n_test, equal_classes),
            (n_test, equal_categories),
        ):
            drawn = random.choice(207, count, p=frequency)
            world.append(
                (centres[drawn] + 0.7 * random.standard_normal((count, 20)), drawn)
            )
        worlds.append(world)
    return tuple(
        tuple(torch.from_numpy(np.stack(column)) for column in zip(*part))
        for part in zip(*worlds)
    )


def digit_scenes(n_train: int, n_test: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Scenes of up to four handwritten digits; the labels are the digits that occur.

    Each of 2 x 2 places holds a digit with probability one half, and digit d is drawn
    with weight 1 / (1 + d), so the labels run from frequent (0) to rare (9), none to
    four of them in a scene. Train and test scenes use different handwritten digits
    (scikit-learn's 1,797).
    Returns (train inputs, train targets, test inputs, test targets): inputs float64
    (N, 256), the 16 x 16 pixels from 0 to 1 row by row; targets float64 (N, 10),
    multi-hot.
    See the chapter "Why multi-label accuracy is 99 %".
    Raises ValueError for a size that is no integer of at least 1, or a seed that is no
    integer of at least 0.
    """
    _check_sizes(n_train=n_train, n_test=n_test)
    random = _generator(seed)
    images, digits = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    weights = 1 / (1 + np.arange(10))
    scenes = []
    for count, pool in zip(
        (n_train, n_test), np.split(random.permutation(len(digits)), [1300])
    ):
        digit = random.choice(10, size=(count, 4), p=weights / weights.sum())
        filled = random.random((count, 4)) < 0.5
        sources = pool[np.argsort(digits[pool], kind="stable")]
        first = np.searchsorted(digits[sources], np.arange(11))
        chosen = sources[random.integers(first[digit], first[digit + 1])]
        places = images[chosen] * filled[:, :, None, None]
        inputs = places.reshape(count, 2, 2, 8, 8).swapaxes(2, 3).reshape(count, 256)
        targets = (filled[:, :, None] & (digit[:, :, None] == np.arange(10))).any(
            axis=1
        )
        scenes += [torch.from_numpy(inputs), torch.from_numpy(targets).double()]
    return tuple(scenes)


def _check_sizes(**sizes):
    for name, size in sizes.items():
        check_integer(name, size, 1)


def _generators(seeds):
    if not isinstance(seeds, Iterable) or not (seeds := list(seeds)):
        raise ValueError(f"seeds must hold at least one seed, got {seeds!r}")
    return [_generator(seed) for seed in seeds]


def _generator(seed):
    check_integer("a seed", seed)
    return np.random.default_rng(seed)
