import collections
import hashlib
import sys

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, f1_score

from helpers.data import (
    coarse_world,
    digit_scenes,
    gaussian_classes,
    imagenet_a_results,
    ppo_on_tanks,
    rater_votes,
    real_labels,
    scale_measurements,
    shape_bias_counts,
    yeast,
)
from helpers.labels import categories


def test_real_labels():
    labels = real_labels()
    # Counted from the file that the authors of the labels published.
    assert collections.Counter(map(len, labels)) == {
        0: 3163,
        1: 39394,
        2: 5408,
        3: 1319,
        4: 411,
        5: 161,
        6: 88,
        7: 41,
        8: 13,
        9: 2,
    }
    assert len(labels) == 50_000
    sizes = np.array([len(row) for row in labels if row])
    assert (
        len(sizes) == 46_837
        and (sizes > 1).sum() == 7443
        and sizes.mean() == pytest.approx(1.2287934752)
    )
    assert 1 - sizes.mean() / 1000 == pytest.approx(0.9987712065)
    assert {index for row in labels for index in row} == set(range(1000))
    assert all(
        len(set(row)) == len(row) and all(type(index) is int for index in row)
        for row in labels
    )
    assert labels[:5] == [
        [],
        [970, 795],
        [230, 231],
        [809],
        [516, 850],
    ]  # in the order of the validation images


def test_an_old_timm(monkeypatch, tmp_path):
    """In front of the real package stands one without the file."""
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text("")
    (tmp_path / "timm-0.6.13.dist-info").mkdir()
    (tmp_path / "timm-0.6.13.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: timm\nVersion: 0.6.13\n"
    )
    monkeypatch.delitem(
        sys.modules, "timm", raising=False
    )  # `find_spec` would answer from there
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        real_labels()
    assert (
        str(error.value)
        == "timm 0.6.13 does not contain the ReaL labels; timm 0.9.0 or newer does"
    )


def test_imagenet_a_results():
    table = imagenet_a_results()
    assert (
        list(table.columns) == ["model", "img_size", "top1_imagenet", "top1_imagenet_a"]
        and len(table) == 1555
    )
    assert (
        not table.isna().any().any()
        and not table.duplicated(["model", "img_size"]).any()
    )
    assert (
        table["model"].nunique() == 1265
        and table["img_size"].between(96, 1024).all()
        and table["img_size"].dtype == int
    )
    for column in ("top1_imagenet", "top1_imagenet_a"):
        assert (
            table[column].between(0, 100).all() and table[column].max() > 80
        )  # per cent, and not a fraction
    # ImageNet-A holds images that a model failed on.
    assert (table["top1_imagenet_a"] < table["top1_imagenet"]).all()
    assert table.iloc[0].tolist() == [
        "eva02_large_patch14_448.mim_m38m_ft_in22k_in1k",
        448,
        90.056,
        88.627,
    ]


def test_shape_bias_counts():
    table = shape_bias_counts()
    assert (
        list(table.columns) == ["observer", "trained_on", "shape", "texture", "other"]
        and len(table) == 26
    )
    assert (table[["shape", "texture", "other"]].sum(axis=1) == 1200).all() and (
        table[["shape", "texture", "other"]] > 0
    ).all().all()
    assert (
        not table.isna().any().any()
        and not table.duplicated(["observer", "trained_on"]).any()
    )
    people = table["observer"].str.startswith("person")
    assert people.sum() == 10 and (table["trained_on"] == "").equals(people)
    assert table["trained_on"][~people].value_counts().to_dict() == {
        "ImageNet": 10,
        "Stylized-ImageNet": 5,
        "Open Images": 1,
    }


def test_published_shape_biases():
    """What arXiv:1811.12231 reports: 22 % for ResNet-50 trained on ImageNet, 81 % on
    Stylized-ImageNet, and 96 % on average for people; and more of the raw trials.
    """
    table = shape_bias_counts().set_index(["observer", "trained_on"])
    bias = table["shape"] / (table["shape"] + table["texture"])
    assert {
        name: round(value, 4)
        for name, value in bias.items()
        if not name[0].startswith("person")
    } == {
        ("AlexNet (torchvision)", "ImageNet"): 0.2531,
        ("AlexNet", "Stylized-ImageNet"): 0.7519,
        ("DenseNet-121", "ImageNet"): 0.2145,
        ("DenseNet-121", "Stylized-ImageNet"): 0.8262,
        ("ResNet-101", "Open Images"): 0.1960,
        ("ResNet-101", "ImageNet"): 0.2612,
        ("ResNet-152", "ImageNet"): 0.2562,
        ("ResNet-50", "ImageNet"): 0.2207,
        ("ResNet-50", "Stylized-ImageNet"): 0.8061,
        ("SqueezeNet 1.1", "ImageNet"): 0.1822,
        ("SqueezeNet 1.1", "Stylized-ImageNet"): 0.7902,
        ("VGG-16 (torchvision)", "ImageNet"): 0.0921,
        ("VGG-16", "Stylized-ImageNet"): 0.7717,
        ("AlexNet (Caffe)", "ImageNet"): 0.4294,
        ("GoogLeNet (Caffe)", "ImageNet"): 0.3119,
        ("VGG-16 (Caffe)", "ImageNet"): 0.1722,
    }
    people = [bias[f"person {number}", ""] for number in range(1, 11)]
    assert [round(value, 4) for value in people] == [
        0.9617,
        0.9438,
        0.9673,
        0.9191,
        0.9640,
        0.9760,
        0.9408,
        0.9577,
        0.9866,
        0.9589,
    ]
    assert np.mean(people) == pytest.approx(0.96, abs=0.005)


def test_scale_measurements():
    table = scale_measurements()
    assert list(table) == ["what", "labels", "seconds", "megabytes"]
    labels = table.groupby("what").labels.apply(list)
    few = [100, 1_000, 10_000]
    assert labels.to_dict() == {
        "dense step": [*few, 100_000],
        "step in chunks": [*few, 100_000],
        "exact evaluation": few,
        "streaming evaluation": [*few, 100_000],
        "streaming, 1,000,000 rows": [1_000],
    }
    assert table.what.iloc[-1] == "streaming, 1,000,000 rows"
    assert (table[["seconds", "megabytes"]] > 0).all(axis=None)


def test_ppo_on_tanks():
    steps, distances = ppo_on_tanks()
    assert steps == 327_680 and distances.shape == (8, 10)
    assert (distances > 0).all()
    assert distances.mean(0)[[0, -1]].round(2).tolist() == [6.58, 3.88]


def test_yeast():
    inputs, targets = yeast()
    assert (
        inputs.shape == (2417, 103)
        and targets.shape == (2417, 14)
        and inputs.dtype == targets.dtype == torch.float64
    )
    assert inputs.isfinite().all() and set(targets.unique().tolist()) == {0, 1}
    # Published of this data set: 4.237 labels per gene, 198 different label sets.
    assert (
        targets.sum(1).mean().item() == pytest.approx(4.237, abs=5e-4)
        and len(targets.unique(dim=0)) == 198
    )
    assert inputs[0, :3].tolist() == [0.004168, -0.170975, -0.156748] and targets[
        0
    ].nonzero().flatten().tolist() == [6, 7, 11, 12]


def test_how_often_each_function_of_yeast_occurs():
    _, targets = yeast()
    assert targets.sum(0).tolist() == [
        762,
        1038,
        983,
        862,
        722,
        597,
        428,
        480,
        178,
        253,
        289,
        1816,
        1799,
        34,
    ]
    assert targets.mean(0).numpy().round(3)[[13, 11]].tolist() == [0.014, 0.751]


def test_yeast_is_the_published_file():
    names = [f"Att{n}" for n in range(1, 104)] + [f"Class{n}" for n in range(1, 15)]
    lines = [",".join(names)]
    for inputs, targets in zip(*(part.tolist() for part in yeast())):
        row = [np.format_float_positional(value, trim="-") for value in inputs]
        lines.append(",".join([*row, *(f"{value:.0f}" for value in targets)]))
    digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert digest == "fd17cb9b53acaaf5e82a9e0795e2667167775915c0e32c1f6fe0fadb0d3bd703"


def test_rater_votes():
    votes = rater_votes()
    columns = ["image", "file", "label", "yes", "maybe", "share", "experts", "truth"]
    assert list(votes.columns) == columns and len(votes) == 1135
    assert (votes.dtypes.drop("share") == np.int64).all()
    # In blocks, one per image.
    assert votes["image"].diff().dropna().isin([0, 1]).all()
    assert votes["image"].iloc[[0, -1]].tolist() == [0, 154]
    assert votes["image"].value_counts().agg(["min", "max"]).tolist() == [2, 37]
    assert votes.groupby("image")["file"].nunique().eq(1).all()
    assert votes["file"].between(1, 50_000).all() and votes["file"].nunique() == 155
    assert not votes.duplicated(["file", "label"]).any()
    assert votes["label"].between(0, 999).all() and votes["label"].nunique() == 621
    assert votes.iloc[1].tolist() == [0, 30153, 385, 40, 28, 54 / 78, 4, 1]


def test_the_scores_of_the_raters():
    votes = rater_votes()
    truth, share = votes["truth"], votes["share"]
    # Counted in the published arrays: a third dimension of no, maybe and yes.
    assert truth.sum() == 248 and votes["experts"].sum() == 1236
    assert (votes["yes"].sum(), votes["maybe"].sum()) == (12745, 6497)
    assert average_precision_score(truth, share) == pytest.approx(0.92056, abs=5e-6)
    f1 = [f1_score(truth, share >= t) for t in (0.2, 0.3, 0.4, 0.5, 0.6)]
    assert np.round(f1, 3).tolist() == [0.817, 0.834, 0.822, 0.790, 0.703]
    # Eight shares are 0.5, of which four are true.
    assert f1_score(truth, share > 0.5) == pytest.approx(0.778, abs=5e-4)


def test_the_experts_agree_with_the_published_labels():
    """Made from the raters' votes, these are nearly what five people say."""
    labels, votes = real_labels(), rater_votes()
    published = [
        label in labels[file - 1] for file, label in zip(votes.file, votes.label)
    ]
    assert (votes["truth"] == published).mean() > 0.9


def world(seeds):
    return gaussian_classes(7, 300, 200, seeds)


def test_shapes_and_types():
    train_inputs, train_labels, test_inputs, test_labels = world([0, 1, 2])
    for inputs, labels in [(train_inputs, train_labels), (test_inputs, test_labels)]:
        assert (
            inputs.ndim == 3 and inputs.shape[:2] == labels.shape and len(labels) == 3
        )
        assert (
            inputs.dtype == torch.float64
            and labels.dtype == torch.int64
            and inputs.isfinite().all()
        )
    assert train_inputs.shape[2] == test_inputs.shape[2]


def test_a_seed_decides_and_the_others_do_not():
    three, one, again = world([5, 2, 9]), world([2]), world([2])
    for of_three, of_one, of_again in zip(three, one, again):
        assert torch.equal(of_three[1], of_one[0]) and torch.equal(of_one, of_again)
        assert not torch.equal(of_three[0], of_three[1])
    np.random.seed(0), torch.manual_seed(0)
    assert all(torch.equal(a, b) for a, b in zip(world([2]), one))


@pytest.mark.parametrize("make", [world, lambda seeds: coarse_world(1, 1, 1, seeds)])
def test_bad_seeds(make):
    for seeds in ([], None, 3):
        with pytest.raises(ValueError) as error:
            make(seeds)
        assert str(error.value) == f"seeds must hold at least one seed, got {seeds!r}"
    for seed in (-1, 0.0, 1.5, True, "0", None, np.nan, [0], torch.tensor(0)):
        with pytest.raises(ValueError) as error:
            make([0, seed])
        message = f"a seed must be an integer of at least 0, got {seed!r}"
        assert str(error.value) == message
        with pytest.raises(ValueError) as error:
            digit_scenes(1, 1, seed)
        assert str(error.value) == message


def test_seeds_of_any_kind():
    for seeds in (iter([0, 3]), range(0, 6, 3), np.array([0, 3])):
        assert torch.equal(world(seeds)[0], world([0, 3])[0])


def test_gaussian_classes():
    inputs, labels, test_inputs, test_labels = gaussian_classes(
        7, 3000, 200, [0, 1], n_features=3
    )
    assert inputs.shape == (2, 3000, 3) and test_inputs.shape == (2, 200, 3)
    for number in range(2):
        counts = np.bincount(labels[number], minlength=7)
        assert len(counts) == 7 and scipy.stats.chisquare(counts).pvalue > 1e-4
        centres = torch.stack(
            [inputs[number][labels[number] == k].mean(0) for k in range(7)]
        )
        assert (inputs[number] - centres[labels[number]]).std().item() == pytest.approx(
            1, abs=0.03
        )
        # The test inputs scatter around the same centres.
        assert (
            test_inputs[number] - centres[test_labels[number]]
        ).std().item() == pytest.approx(1, abs=0.12)


def test_centres_are_standard_normal():
    inputs, labels, _, _ = gaussian_classes(200, 20_000, 1, [0])
    centres = torch.stack([inputs[0][labels[0] == k].mean(0) for k in range(200)])
    assert centres.mean().item() == pytest.approx(
        0, abs=0.08
    ) and centres.std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", ["n_classes", "n_train", "n_test", "n_features"])
@pytest.mark.parametrize("number", [0, -1, 5.0, 0.5, True, "5", None, [5], np.inf])
def test_bad_sizes(name, number):
    message = f"{name} must be an integer of at least 1, got {number!r}"
    with pytest.raises(ValueError) as error:
        gaussian_classes(
            **{"n_classes": 3, "n_train": 5, "n_test": 5, "seeds": [0], name: number}
        )
    assert str(error.value) == message
    if name in ("n_train", "n_test"):
        with pytest.raises(ValueError) as error:
            digit_scenes(**{"n_train": 5, "n_test": 5, "seed": 0, name: number})
        assert str(error.value) == message


def test_the_smallest_sizes():
    for part in gaussian_classes(1, 1, 1, [0], n_features=1):
        assert part.shape[:2] == (1, 1)
    for inputs, classes in coarse_world(1, 1, 1, [0]):
        assert inputs.shape == (1, 1, 20) and classes.shape == (1, 1)
    assert [len(part) for part in digit_scenes(1, np.int64(1), 0)] == [1] * 4


def test_it_needs_no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    (
        real_labels(),
        imagenet_a_results(),
        shape_bias_counts(),
        rater_votes(),
        yeast(),
        gaussian_classes(2, 2, 2, [0]),
        digit_scenes(2, 2, 0),
    )


def places(inputs):
    """The four 8 x 8 places of each scene, as (N, 4, 64)."""
    return inputs.reshape(-1, 2, 8, 2, 8).swapaxes(2, 3).reshape(-1, 4, 64)


def test_the_labels_are_the_digits_in_the_scene():
    known = {
        (image / 16).tobytes(): digit
        for image, digit in zip(*load_digits(return_X_y=True))
    }
    for inputs, targets in zip(*[iter(digit_scenes(300, 200, seed=3))] * 2):
        for scene, row in zip(places(inputs).numpy(), targets):
            found = {known[place.tobytes()] for place in scene if place.any()}
            assert found == set(row.nonzero()[:, 0].tolist())


def test_train_and_test_use_different_digits():
    train, _, test, _ = digit_scenes(2000, 2000, seed=4)
    handwriting = [
        {
            place.tobytes()
            for place in places(inputs).flatten(0, 1).numpy()
            if place.any()
        }
        for inputs in (train, test)
    ]
    assert all(len(found) > 300 for found in handwriting) and handwriting[0].isdisjoint(
        handwriting[1]
    )


def test_frequencies():
    _, targets, _, _ = digit_scenes(20000, 1, seed=5)
    weights = 1 / np.arange(1, 11)
    expected = 1 - (1 - 0.5 * weights / weights.sum()) ** 4
    assert np.allclose(targets.mean(0), expected, atol=0.015)
    assert abs((targets.sum(1) == 0).double().mean() - 0.5**4) < 0.01


def test_shapes_and_seeds():
    first, again, other = (digit_scenes(7, 5, seed) for seed in (0, 0, 1))
    assert [tuple(part.shape) for part in first] == [
        (7, 256),
        (7, 10),
        (5, 256),
        (5, 10),
    ]
    assert all(part.dtype == torch.float64 for part in first)
    assert first[0].min() == 0 and first[0].max() == 1
    assert all(torch.equal(a, b) for a, b in zip(first, again)) and not torch.equal(
        first[0], other[0]
    )


def test_coarse_world():
    seeds = [3, 4]
    (x_fine, y_fine), (x_coarse, y_coarse), (x_test, y_test), (x_even, y_even) = (
        coarse_world(400, 4000, 5000, seeds)
    )
    assert [part.shape for part in (x_fine, x_coarse, x_test, x_even)] == [
        (2, 400, 20),
        (2, 4000, 20),
        (2, 5000, 20),
        (2, 5000, 20),
    ]
    assert (
        x_fine.dtype == torch.float64
        and y_fine.dtype == torch.int64
        and y_fine.shape == (2, 400)
    )
    sizes = torch.tensor([len(members) for members in categories().values()])
    category = torch.arange(16).repeat_interleave(sizes)
    for even, natural in ((y_even, y_test), (y_coarse, y_fine)):
        assert 0 <= even.min() and even.max() <= 206
        shares = torch.bincount(category[even].flatten(), minlength=16) / even.numel()
        assert (shares - 1 / 16).abs().max() < 0.02  # equal categories
        dogs = (category[natural] == 10).double().mean()
        assert abs(dogs - 109 / 207) < 0.06  # equal classes

    # A class has one centre, in all parts of a world, and another one in another world.
    def centre(x, y, world):
        return x[world][y[world] == 0].mean(0)

    assert (
        (centre(x_even, y_even, 0) - centre(x_coarse, y_coarse, 0)).abs().max()
        < 0.4
        < (centre(x_even, y_even, 0) - centre(x_even, y_even, 1)).abs().max()
    )
    # Scatter of 0.7 about it; and a seed's world does not depend on the other seeds.
    assert abs(x_even[0][y_even[0] == 0].std(0).mean() - 0.7) < 0.05
    assert torch.equal(coarse_world(400, 4000, 5000, [4])[0][0][0], x_fine[1])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0, 1, 1, [0]), "n_fine must be an integer of at least 1, got 0"),
        ((1, 0, 1, [0]), "n_coarse must be an integer of at least 1, got 0"),
        ((1, 1, 0, [0]), "n_test must be an integer of at least 1, got 0"),
    ],
)
def test_coarse_world_bad_input(arguments, message):
    with pytest.raises(ValueError) as error:
        coarse_world(*arguments)
    assert str(error.value) == message
