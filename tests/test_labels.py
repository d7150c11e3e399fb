import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import ImageFolder

from helpers import labels
from helpers.labels import (
    RULES,
    categories,
    category_index,
    category_logits,
    category_probabilities,
    category_targets,
    class_index,
    class_names,
    imagenet_a,
    imagenet_a_scores,
    imagenet_a_targets,
    wnids,
)

SIZES = {
    "airplane": 1,
    "bear": 4,
    "bicycle": 2,
    "bird": 49,
    "boat": 5,
    "bottle": 7,
    "car": 3,
    "cat": 6,
    "chair": 4,
    "clock": 3,
    "dog": 109,
    "elephant": 2,
    "keyboard": 2,
    "knife": 1,
    "oven": 1,
    "truck": 8,
}


def test_names():
    names = class_names()
    assert len(names) == 1000 and all(
        name and name == name.strip() and "," not in name for name in names
    )
    assert (names[0], names[65], names[281], names[404], names[967], names[999]) == (
        "tench",
        "sea snake",
        "tabby",
        "airliner",
        "espresso",
        "toilet tissue",
    )
    assert {name for name, count in Counter(names).items() if count > 1} == {
        "crane",
        "maillot",
    }


def test_a_list_of_ones_own():
    class_names().clear(), categories().clear(), categories()["cat"].clear()
    assert len(class_names()) == 1000 and len(categories()["cat"]) == 6


def test_categories():
    found = categories()
    assert {name: len(members) for name, members in found.items()} == SIZES and list(
        found
    ) == sorted(SIZES)
    indices = [index for members in found.values() for index in members]
    assert len(indices) == len(set(indices)) == 207 and set(indices) <= set(range(1000))
    assert all(
        members == sorted(members) and all(type(index) is int for index in members)
        for members in found.values()
    )


def test_members():
    found = categories()
    assert (
        found["airplane"] == [404]
        and found["bear"] == [294, 295, 296, 297]
        and found["bicycle"] == [444, 671]
    )
    assert (
        found["boat"] == [472, 554, 625, 814, 914]
        and found["car"] == [436, 511, 817]
        and found["cat"] == [281, 282, 283, 284, 285, 286]
    )
    assert (
        found["bottle"] == [440, 720, 737, 898, 899, 901, 907]
        and found["chair"] == [423, 559, 765, 857]
        and found["clock"] == [409, 530, 892]
    )
    assert (
        found["elephant"] == [385, 386]
        and found["keyboard"] == [508, 878]
        and found["knife"] == [499]
        and found["oven"] == [766]
    )
    assert found["truck"] == [555, 569, 656, 675, 717, 734, 864, 867]
    # The long ones by their ends and their sum.
    assert (
        found["bird"][:4] == [8, 10, 11, 12]
        and found["bird"][-2:] == [144, 145]
        and sum(found["bird"]) == 4213
    )
    assert (
        found["dog"][:3] == [152, 153, 154]
        and found["dog"][-3:] == [266, 267, 268]
        and sum(found["dog"]) == 22672
    )


def test_the_table_is_in_the_order_of_the_model():
    """The same WordNet ids as in timm's own list, whose order is that of every ImageNet
    classifier's logits.
    """
    table = labels._table()
    assert [int(row["index"]) for row in table] == list(range(1000))
    assert [row["wnid"] for row in table] == files("timm").joinpath(
        "data/_info/imagenet_synsets.txt"
    ).read_text().split()
    lemmas = dict(
        line.split("\t")
        for line in files("timm")
        .joinpath("data/_info/imagenet_synset_to_lemma.txt")
        .read_text()
        .splitlines()
    )
    assert all(
        row["name"].split(",")[0] == lemmas[row["wnid"]].split(",")[0] for row in table
    )


INFO = files("timm").joinpath("data/_info")
MEMBERS = list(categories().values())
MAPPED = sorted(index for members in MEMBERS for index in members)
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()

every_rule = pytest.mark.parametrize("rule", RULES)
every_function = pytest.mark.parametrize(
    "function",
    [
        imagenet_a_scores,
        *(
            lambda scores, f=f, rule=rule: f(scores, rule)
            for f in (category_logits, category_probabilities)
            for rule in RULES
        ),
    ],
    ids=[
        "imagenet_a_scores",
        *(
            f"category_{what} {rule}"
            for what in ("logits", "probabilities")
            for rule in RULES
        ),
    ],
)


def made(seed, *shape, scale=3.0, dtype=torch.float64):
    """Logits (*shape, 1000)."""
    return scale * torch.randn(
        *shape, 1000, dtype=dtype, generator=torch.Generator().manual_seed(seed)
    )


seeds, scales = st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 3.0, 10.0])
logits_of_some = st.builds(
    lambda seed, rows, scale: made(seed, rows, scale=scale),
    seeds,
    st.integers(1, 8),
    scales,
)


def test_wnids():
    assert (
        wnids()
        == INFO.joinpath("imagenet_synsets.txt").read_text().split()
        == sorted(set(wnids()))
        and len(wnids()) == 1000
    )
    wnids().clear()
    assert len(wnids()) == 1000


def test_imagenet_a():
    """The list that timm slices with, and the ids of its folders."""
    assert (
        imagenet_a()
        == [
            int(index)
            for index in INFO.joinpath("imagenet_a_indices.txt").read_text().split()
        ]
        == sorted(set(imagenet_a()))
    )
    assert [wnids()[index] for index in imagenet_a()] == INFO.joinpath(
        "imagenet_a_synsets.txt"
    ).read_text().split()
    imagenet_a().clear()
    assert len(imagenet_a()) == 200


def test_what_the_members_are_called():
    """The WordNet names that timm has for the 207 ids, where a category's members share
    a word or are few.
    """
    lemmas = dict(
        line.split("\t")
        for line in INFO.joinpath("imagenet_synset_to_lemma.txt")
        .read_text()
        .splitlines()
    )
    named = {
        name: [lemmas[wnids()[index]] for index in members]
        for name, members in categories().items()
    }
    assert [
        named[name] for name in ("airplane", "knife", "elephant", "bicycle", "oven")
    ] == [
        ["airliner"],
        ["cleaver, meat cleaver, chopper"],
        ["Indian elephant, Elephas maximus", "African elephant, Loxodonta africana"],
        [
            "bicycle-built-for-two, tandem bicycle, tandem",
            "mountain bike, all-terrain bike, off-roader",
        ],
        ["rotisserie"],
    ]
    for name, word in [
        ("bear", "bear"),
        ("bottle", "bottle|jug|pop"),
        ("cat", "cat"),
        ("chair", "chair|throne"),
        ("clock", "clock"),
        ("keyboard", "keyboard"),
    ]:
        assert all(re.search(word, lemma) for lemma in named[name]), name
    # ImageNet's domestic dogs stand at 151 to 268, its birds at 7 to 24, 80 to 100 and
    # 127 to 146.
    assert set(categories()["dog"]) < set(range(151, 269)) and set(
        categories()["bird"]
    ) < {*range(7, 25), *range(80, 101), *range(127, 147)}


@settings(deadline=None)
@given(st.lists(st.integers(0, 999), max_size=30))
def test_ids_and_indices_are_two_names_for_a_class(indices):
    found = class_index([wnids()[index] for index in indices])
    assert found.tolist() == indices and found.dtype == torch.int64


@settings(deadline=None)
@given(st.lists(st.sampled_from(MAPPED), max_size=30))
def test_the_category_of_a_class(indices):
    targets = category_targets(torch.tensor(indices, dtype=torch.int64))
    assert targets.dtype == torch.int64 and targets.shape == (len(indices),)
    assert all(index in MEMBERS[target] for index, target in zip(indices, targets))
    assert (
        category_index([list(categories())[target] for target in targets]).tolist()
        == targets.tolist()
    )


def test_every_target_of_imagenet_a():
    targets = imagenet_a_targets(torch.tensor(imagenet_a()))
    assert targets.tolist() == list(range(200)) and targets.dtype == torch.int64


@pytest.mark.parametrize("shape", [(), (1,), (0,), (6,), (2, 3), (3, 1, 2)], ids=str)
@pytest.mark.parametrize(
    "remap, inside", [(category_targets, MAPPED), (imagenet_a_targets, imagenet_a())]
)
def test_targets_of_any_shape(remap, inside, shape):
    targets = torch.tensor(inside)[
        torch.randint(len(inside), shape, generator=torch.Generator().manual_seed(0))
    ]
    before = targets.clone()
    found = remap(targets)
    assert found.shape == shape and torch.equal(targets, before)
    assert found.flatten().tolist() == [
        remap(target).item() for target in targets.flatten()
    ]


@every_rule
def test_a_certain_class_is_a_certain_category(rule):
    """Remapping the target and scoring it, or scoring it and remapping the scores: the
    same, but for the size under the mean.
    """
    one_hot = torch.eye(1000, dtype=torch.float64)
    targets = category_targets(torch.tensor(MAPPED))
    sizes = (
        torch.tensor([len(members) for members in MEMBERS], dtype=torch.float64)
        if rule == "mean"
        else torch.ones(16)
    )
    assert torch.equal(
        category_probabilities(one_hot[MAPPED], rule),
        torch.eye(16, dtype=torch.float64)[targets] / sizes,
    )
    others = sorted(set(range(1000)) - set(MAPPED))
    assert (category_probabilities(one_hot[others], rule) == 0).all()


@settings(deadline=None)
@given(logits_of_some)
def test_the_category_with_the_largest_maximum_holds_the_best_of_the_207(logits):
    best = torch.tensor(MAPPED)[logits[:, MAPPED].argmax(-1)]
    for scores in (
        category_probabilities(logits.softmax(-1), "max"),
        category_logits(logits, "max"),
    ):
        assert torch.equal(scores.argmax(-1), category_targets(best))


@settings(deadline=None)
@given(logits_of_some)
def test_imagenet_a_by_slicing(logits):
    """The best of the 200 is the same class whichever comes first, slicing or argmax
    over the 200.
    """
    scores = imagenet_a_scores(logits)
    best = torch.tensor(imagenet_a())[logits[:, imagenet_a()].argmax(-1)]
    assert torch.equal(scores.argmax(-1), imagenet_a_targets(best))
    assert scores.shape == (len(logits), 200) and all(
        torch.equal(scores[:, j], logits[:, index])
        for j, index in enumerate(imagenet_a())
    )


def loop(probabilities, rule=np.mean):
    """As the authors of the data set do it: one image and one category at a time."""
    return np.array(
        [
            [rule(np.take(row, members)) for members in MEMBERS]
            for row in probabilities.numpy()
        ]
    )


@settings(deadline=None, max_examples=30)
@given(logits_of_some)
def test_agrees_with_the_plain_loop(logits):
    probabilities = logits.softmax(-1)
    for rule in RULES:
        assert (
            np.abs(
                category_probabilities(probabilities, rule).numpy()
                - loop(probabilities, getattr(np, rule))
            ).max()
            < 1e-12
        )
    assert torch.equal(
        category_probabilities(probabilities),
        category_probabilities(probabilities, "mean"),
    )
    assert torch.equal(category_logits(logits), category_logits(logits, "mean"))


@settings(deadline=None)
@given(logits_of_some)
def test_logits_and_probabilities_say_the_same(logits):
    for rule in RULES:
        assert torch.allclose(
            category_logits(logits, rule).exp(),
            category_probabilities(logits.softmax(-1), rule),
            rtol=1e-12,
            atol=1e-12,
        )


@settings(deadline=None)
@given(logits_of_some)
def test_the_mean_is_the_sum_adjusted_for_size(logits):
    sizes = torch.tensor([len(members) for members in MEMBERS], dtype=torch.float64)
    assert torch.allclose(
        category_logits(logits, "mean"),
        category_logits(logits, "sum") - sizes.log(),
        rtol=0,
        atol=1e-12,
    )


@settings(deadline=None)
@given(logits_of_some, seeds)
def test_the_likelihood_of_the_sum_is_the_marginal_loss(logits, seed):
    """-log of the probability that any class of the set is right: logsumexp over all,
    less logsumexp over the set.
    """
    targets = torch.tensor(MAPPED)[
        torch.randint(
            207, (len(logits),), generator=torch.Generator().manual_seed(seed)
        )
    ]
    categories_of = category_targets(targets)
    marginal = [
        row.logsumexp(0) - row[MEMBERS[category]].logsumexp(0)
        for row, category in zip(logits, categories_of)
    ]
    likelihood = -category_logits(logits, "sum").gather(1, categories_of[:, None])[:, 0]
    assert torch.allclose(likelihood, torch.stack(marginal), rtol=0, atol=1e-12)


@settings(deadline=None)
@given(logits_of_some, st.floats(-100, 100))
def test_a_constant_added_to_the_logits_changes_nothing(logits, constant):
    for rule in RULES:
        assert torch.allclose(
            category_logits(logits + constant, rule),
            category_logits(logits, rule),
            rtol=0,
            atol=1e-11,
        )


@every_function
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_any_batch_shape_equals_row_by_row(function, dtype):
    rows = made(0, 24, dtype=dtype).softmax(-1)
    singly = torch.stack([function(row) for row in rows])
    tolerance = {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 1e-5}
    assert singly.dtype == dtype and singly.ndim == 2
    for shape in [(24,), (1, 24), (4, 6), (2, 3, 4), (24, 1, 1)]:
        got = function(rows.reshape(*shape, 1000))
        assert (
            got.dtype == dtype
            and got.shape == (*shape, singly.shape[1])
            and torch.allclose(got.flatten(0, -2), singly, **tolerance)
        )
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(function(rows[order]), singly[order], **tolerance)


@every_function
def test_inputs_that_are_not_contiguous(function):
    rows = made(1, 6).softmax(-1)
    every_other = torch.stack([rows, rows.flip(0)], 1)[:, 0]
    for same in (rows.T.contiguous().T, every_other):
        assert not same.is_contiguous() and torch.allclose(
            function(same), function(rows), rtol=0, atol=1e-12
        )
    assert torch.allclose(
        function(rows[:1].expand(5, 1000)),
        function(rows[:1]).expand(5, -1),
        rtol=0,
        atol=1e-12,
    )


@every_function
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_input_stays_as_it_was(function, dtype):
    rows = made(2, 3, dtype=dtype).softmax(-1)
    before = rows.clone()
    function(rows).zero_()
    assert torch.equal(rows, before)


@every_function
@pytest.mark.parametrize("device", DEVICES)
def test_on_every_device(function, device):
    rows = made(3, 4).softmax(-1)
    got = function(rows.to(device))
    assert got.device.type == device and torch.allclose(
        got.cpu(), function(rows), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("device", DEVICES)
def test_targets_on_every_device(device):
    for remap, inside in [
        (category_targets, MAPPED),
        (imagenet_a_targets, imagenet_a()),
    ]:
        targets = torch.tensor(inside, device=device)
        assert remap(targets).device == targets.device and torch.equal(
            remap(targets).cpu(), remap(targets.cpu())
        )


@every_rule
def test_gradients(rule):
    """Away from ties, where the maximum has no derivative."""
    logits = made(4, 2).requires_grad_()
    for function in (
        lambda z: category_logits(z, rule),
        lambda z: category_probabilities(z.softmax(-1), rule),
        imagenet_a_scores,
    ):
        assert torch.autograd.gradcheck(
            function, logits, fast_mode=True
        )  # along random directions


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_where_probabilities_underflow(rule, dtype):
    """A thousand below the best, every probability is 0 and its logarithm would be
    -inf; the logits keep it.
    """
    logits = torch.full((2, 1000), -1000, dtype=dtype)
    logits[0, 404] = logits[1, 0] = (
        1000  # an airliner, and a fish that belongs to no category
    )
    logits.requires_grad_()
    got = category_logits(logits, rule)
    sizes = torch.tensor(
        [1 if rule != "sum" else len(members) for members in MEMBERS], dtype=dtype
    )
    want = torch.stack([sizes.log() - 2000] * 2)
    want[0, 0] = 0
    assert (
        torch.allclose(got, want, rtol=1e-6)
        and (category_probabilities(logits.softmax(-1), rule)[1] == 0).all()
    )
    torch.nn.functional.nll_loss(got, torch.tensor([10, 10])).backward()
    # Together the dog's classes are pulled up as hard as the best class is pulled down.
    pulls = torch.stack(
        [-logits.grad[0, 404], -logits.grad[1, 0], *logits.grad[:, MEMBERS[10]].sum(1)]
    )
    assert logits.grad.isfinite().all() and torch.allclose(
        pulls, torch.tensor(-0.5, dtype=dtype), atol=1e-3
    )


def folder_of(names, folder):
    """A real `ImageFolder` with one tiny picture for each name."""
    for name in names:
        (folder / name).mkdir()
        Image.new("RGB", (1, 1)).save(folder / name / "1.png")
    dataset = ImageFolder(folder)
    assert dataset.classes == sorted(names) and dataset.targets == list(
        range(len(names))
    )
    return dataset


def test_image_folder_of_the_16_categories(tmp_path):
    dataset = folder_of(SIZES, tmp_path)
    assert [
        list(SIZES)[index] for index in category_index(dataset.classes)
    ] == dataset.classes
    assert all(
        position not in categories()[name]
        for name, position in dataset.class_to_idx.items()
    )  # 16 of 16 are wrong


def test_image_folder_of_some_categories(tmp_path):
    dataset = folder_of(["truck", "bird", "dog"], tmp_path)
    found = category_index(dataset.classes)[dataset.targets]
    assert found.tolist() == [3, 10, 15] and found.dtype == torch.int64


def test_image_folder_of_imagenet_a(tmp_path):
    dataset = folder_of([wnids()[index] for index in imagenet_a()], tmp_path)
    found = class_index(dataset.classes)[dataset.targets]
    assert found.tolist() == imagenet_a() and imagenet_a_targets(
        found
    ).tolist() == list(range(200))
    assert all(
        position != index for position, index in zip(dataset.targets, found.tolist())
    )  # 200 of 200 are wrong


ROWS = made(5, 2)
SOFTMAX = ROWS.softmax(-1)


def changed(rows, value):
    rows = rows.clone()
    rows[1, 7] = value
    return rows


@every_function
@pytest.mark.parametrize(
    "rows, message",
    [
        (
            torch.full((2, 999), 1 / 999),
            "must have shape (..., 1000) and at least one row, got (2, 999)",
        ),
        (SOFTMAX.T, "must have shape (..., 1000) and at least one row, got (1000, 2)"),
        (
            SOFTMAX[:0],
            "must have shape (..., 1000) and at least one row, got (0, 1000)",
        ),
        (
            torch.zeros(3, 0, 1000),
            "must have shape (..., 1000) and at least one row, got (3, 0, 1000)",
        ),
        (torch.tensor(1.0), "must have shape (..., 1000) and at least one row, got ()"),
        (torch.zeros(0), "must have shape (..., 1000) and at least one row, got (0,)"),
        (
            torch.eye(1000, dtype=torch.int64),
            "must be a float32 or float64 tensor, got torch.int64",
        ),
        (
            torch.eye(1000, dtype=torch.bool),
            "must be a float32 or float64 tensor, got torch.bool",
        ),
        (SOFTMAX.half(), "must be a float32 or float64 tensor, got torch.float16"),
        (SOFTMAX.bfloat16(), "must be a float32 or float64 tensor, got torch.bfloat16"),
        (SOFTMAX.tolist(), "must be a float32 or float64 tensor, got list"),
        (SOFTMAX.numpy(), "must be a float32 or float64 tensor, got ndarray"),
        (None, "must be a float32 or float64 tensor, got NoneType"),
        (changed(SOFTMAX, torch.nan), "must be finite, got values from nan to nan"),
        (
            changed(torch.eye(1000), torch.inf),
            "must be finite, got values from 0 to inf",
        ),
        (
            changed(torch.eye(1000), -torch.inf),
            "must be finite, got values from -inf to 1",
        ),
    ],
    ids=lambda part: "" if isinstance(part, str) else None,
)
def test_bad_scores(function, rows, message, request):
    name = next(
        name
        for name in ("scores", "logits", "probabilities")
        if name in request.node.callspec.id
    )
    with pytest.raises(ValueError) as error:
        function(rows)
    assert str(error.value) == f"{name} {message}"


@every_rule
@pytest.mark.parametrize(
    "rows, low, total",
    [
        (changed(torch.eye(1000), -0.25), "-0.25", "0.75"),
        (torch.full((2, 1000), 2.0), "2", "2000"),
        (torch.full((3, 1000), 0.5), "0.5", "500"),
        (torch.zeros(1000), "0", "0"),
        (torch.eye(1000)[[3, 5]].maximum(torch.eye(1000)[5]), "0", "2"),
        (
            torch.stack(
                [torch.eye(1000)[0], torch.eye(1000)[0] * 1.001, torch.eye(1000)[0]]
            ),
            "0",
            "1.001",
        ),
    ],
    ids=["negative", "twos", "sigmoids", "nothing", "two classes", "one row"],
)
def test_not_probabilities(rule, rows, low, total):
    with pytest.raises(ValueError) as error:
        category_probabilities(rows, rule)
    assert str(error.value) == (
        "probabilities must not be negative and must sum to 1 over the last "
        "dimension (apply softmax to all 1000 logits first): "
        f"the smallest is {low}, and one row sums to {total}"
    )


@every_rule
def test_one_bad_row_among_many(rule):
    """Wherever it stands among the blocks, and however little it is off."""
    good = SOFTMAX[:1].expand(3 * labels.BLOCK + 1, 1000)
    category_probabilities(good, rule)
    for row in (0, labels.BLOCK - 1, labels.BLOCK, len(good) - 1):
        rows = good.clone()
        rows[row, :2] += torch.tensor([-rows[row, 0] - 1e-9, rows[row, 0] + 1e-9])
        with pytest.raises(ValueError, match="the smallest is -1e-09, and one row sum"):
            category_probabilities(rows, rule)
        rows = good.clone()
        rows[row, 0] += 9e-5
        category_probabilities(rows, rule)
        rows[row, 0] += 2e-5
        with pytest.raises(ValueError, match="and one row sums to 1$"):
            category_probabilities(rows, rule)
        rows[row, 0] = torch.nan
        with pytest.raises(ValueError, match="^probabilities must be finite, got val"):
            category_probabilities(rows, rule)


def test_values_that_add_up_to_infinity_are_no_probabilities():
    with pytest.raises(ValueError, match="is 1e\\+308, and one row sums to inf$"):
        category_probabilities(torch.full((2, 1000), 1e308, dtype=torch.float64))


def test_blocks_of_rows():
    """More rows than a block, the last block shorter: as row by row."""
    rows = made(8, 2 * labels.BLOCK + 3).softmax(-1)
    for rule in RULES:
        found = category_probabilities(rows, rule)
        want = loop(rows[:: labels.BLOCK + 1], getattr(np, rule))
        assert np.abs(found[:: labels.BLOCK + 1].numpy() - want).max() < 1e-15
        assert found.shape == (len(rows), 16) and found.is_contiguous()


@every_rule
def test_logits_and_sigmoids_are_no_probabilities(rule):
    negative_that_sums_to_one = changed(torch.eye(1000), -1)
    negative_that_sums_to_one[1, 1] = 2
    for rows in (
        ROWS,
        ROWS.sigmoid(),
        ROWS.log_softmax(-1),
        SOFTMAX[:, None] - SOFTMAX,
        negative_that_sums_to_one,
    ):
        with pytest.raises(
            ValueError,
            match=r"^probabilities must not be negative and must sum to 1 .+: the "
            r"smallest is \S+, and one row sums to \S+$",
        ):
            category_probabilities(rows, rule)
    category_probabilities(
        made(6, 2000, scale=10, dtype=torch.float32).softmax(-1), rule
    )  # float32 sums to one only nearly


@pytest.mark.parametrize("function", [category_probabilities, category_logits])
@pytest.mark.parametrize("rule", ["median", "", "Mean", None, np.mean])
def test_unknown_rules(function, rule):
    with pytest.raises(ValueError) as error:
        function(SOFTMAX, rule)
    assert str(error.value) == f"rule must be one of mean, sum, max, got {rule!r}"


@pytest.mark.parametrize(
    "name", ["n99999999", "tench", "N01440764", "", "n01440764 ", 0, -1, None, ["cat"]]
)
def test_unknown_ids(name):
    with pytest.raises(ValueError) as error:
        class_index(["n01440764", name, "also unknown"])
    assert str(error.value) == f"{name!r} is no WordNet id of ImageNet's 1000 classes"


@pytest.mark.parametrize("function", [class_index, category_index])
@pytest.mark.parametrize("name", ["n01440764", "cat", ""])
def test_one_string_is_no_list_of_names(function, name):
    with pytest.raises(ValueError) as error:
        function(name)
    assert str(error.value) == f"names must be several strings, got one, {name!r}"


def test_names_that_can_be_read_once():
    assert class_index(iter(wnids())).tolist() == list(range(1000))
    assert category_index(iter(SIZES)).tolist() == list(range(16))
    assert category_index(np.array(["dog", "bear"])).tolist() == [10, 1]
    assert class_index([]).shape == (0,)


@pytest.mark.parametrize(
    "name", ["zebra", "Cat", "", "cat ", "n02123045", 0, -1, None, ["cat"]]
)
def test_unknown_categories(name):
    with pytest.raises(ValueError) as error:
        category_index(["cat", name, "also unknown"])
    assert str(error.value) == f"{name!r} is no name of the 16 categories"


@pytest.mark.parametrize(
    "remap, inside, outside, message",
    [
        (
            category_targets,
            404,
            0,
            "class 0 (tench) does not belong to any of the 16 categories",
        ),
        (
            category_targets,
            404,
            999,
            "class 999 (toilet tissue) does not belong to any of the 16 categories",
        ),
        (imagenet_a_targets, 6, 0, "class 0 (tench) does not belong to ImageNet-A"),
        (imagenet_a_targets, 6, 281, "class 281 (tabby) does not belong to ImageNet-A"),
    ],
)
def test_classes_that_belong_nowhere(remap, inside, outside, message):
    for targets in (
        torch.tensor(outside),
        torch.tensor([[inside, inside], [outside, 1]]),
    ):
        with pytest.raises(ValueError) as error:
            remap(targets)
        assert str(error.value) == message


@pytest.mark.parametrize("remap", [category_targets, imagenet_a_targets])
@pytest.mark.parametrize(
    "targets, message",
    [
        (torch.tensor([404, 1000]), "targets must be class indices 0..999, got 1000"),
        (torch.tensor([[404], [-1]]), "targets must be class indices 0..999, got -1"),
        (torch.tensor(-1000), "targets must be class indices 0..999, got -1000"),
        (
            torch.tensor([404.0]),
            "targets must be an int64 tensor of class indices, got torch.float32",
        ),
        (
            torch.tensor([404], dtype=torch.int32),
            "targets must be an int64 tensor of class indices, got torch.int32",
        ),
        (
            torch.tensor([True]),
            "targets must be an int64 tensor of class indices, got torch.bool",
        ),
        ([404], "targets must be an int64 tensor of class indices, got list"),
        (404, "targets must be an int64 tensor of class indices, got int"),
        (
            np.array([404]),
            "targets must be an int64 tensor of class indices, got ndarray",
        ),
    ],
    ids=repr,
)
def test_bad_targets(remap, targets, message):
    with pytest.raises(ValueError) as error:
        remap(targets)
    assert str(error.value) == message


def test_the_file_to_download_holds_the_categories():
    path = Path(__file__).parent.parent / "book/_static/imagenet_to_16.json"
    assert json.loads(path.read_text("utf-8")) == categories()
