"""Stimuli: 1,280 cue-conflict images, and what was measured on them.

Each has the shape of one category and the texture of another. They are those of Geirhos
et al. 2019 (arXiv:1811.12231), CC BY 4.0, from
https://github.com/rgeirhos/texture-vs-shape. They do not ship with the book; what
EfficientNet-Lite0 says of them does. See the chapter "1000 ImageNet classes to 16
categories".
From a shell:

    python -m helpers.stimuli download
        fetch the images (137 MB; what is there already is kept)
    python -m helpers.stimuli measure --images FOLDER
        measure them again and compare
"""

import argparse
import hashlib
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch

from helpers.labels import RULES, categories, category_index, category_probabilities

COMMIT = "ccd0c01d42c0a8a834e90ec141e7f24fa915dc23"
URL = (
    "https://raw.githubusercontent.com/rgeirhos/texture-vs-shape/"
    f"{COMMIT}/stimuli/style-transfer-preprocessed-512/"
)
NAME = re.compile(r"([a-z]+)/([a-z]+)[0-9]+(?:-([a-z]+)[0-9]+)?\.png")
TOLERANCE = 1e-4  # between a probability measured again and the one that ships


@dataclass(frozen=True)
class Measurements:
    """What EfficientNet-Lite0 says of N images.

    names: list of N file names. shape, texture: category indices 0..15, int64 (N,);
    texture is None where the images have none. probabilities: softmax over the 1000
    classes, float64 (N, 1000). features: a dict from the depth's name to the pooled
    features there, float64 (N, channels), as `helpers.backbone.features` gives them.
    A notebook that carries `helpers` in its first cell has only those features that it
    reads, and probabilities is None where it reads none.
    """

    names: list[str]
    shape: torch.Tensor
    texture: torch.Tensor | None
    probabilities: torch.Tensor | None
    features: dict[str, torch.Tensor]


@cache
def checksums() -> dict[str, str]:
    """The SHA-256 of each of the 1,280 images at the pinned commit, by name.

    A name reads "cat/cat4-elephant2.png".
    """
    return dict(
        line.split()
        for line in files("helpers")
        .joinpath("data/cue_conflict_sha256.txt")
        .read_text("utf-8")
        .splitlines()
    )


def parse(name: str) -> tuple[str, str | None]:
    """The categories in a file name, shape and texture.

    ("cat", "elephant") for "cat/cat4-elephant2.png", ("cat", None) for "cat/cat4.png".
    Raises ValueError for a name of another form, an unknown category, or a folder that
    is not the shape's.
    """
    if not isinstance(name, str) or not (found := NAME.fullmatch(name)):
        raise ValueError(
            f"{name!r} is not named SHAPE/SHAPE1-TEXTURE1.png or SHAPE/SHAPE1.png"
        )
    folder, shape, texture = found.groups()
    category_index([shape] if texture is None else [shape, texture])
    if folder != shape:
        raise ValueError(
            f"{name!r} has the shape {shape!r} and lies in the folder {folder!r}"
        )
    return shape, texture


def images(names: Iterable[str] | None = None) -> dict[str, Path]:
    """The cue-conflict images, from name to path: all 1,280, or those in `names`.

    They are read from the folder in the environment variable CUE_CONFLICT_DIR, or else
    downloaded, once, into the user's cache. Every file is compared with its checksum.
    Raises ValueError for an unknown name or a file that is not the published one,
    FileNotFoundError where a file is in neither place.
    """
    if isinstance(names, str):
        raise ValueError(f"names must be several strings, got one, {names!r}")
    names = list(checksums() if names is None else names)
    if unknown := [name for name in names if name not in checksums()]:
        raise ValueError(f"{_some(unknown)}: not among the 1,280 cue-conflict images")
    if not (folder := os.environ.get("CUE_CONFLICT_DIR")):
        return _downloaded(names)
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"CUE_CONFLICT_DIR names no folder: {folder}")
    return _verified(Path(folder), names)


def images_in(folder: str | Path) -> dict[str, Path]:
    """Every image of a folder, complete and verified, from name to path.

    The folder holds the 1,280 cue-conflict images, or the 160 of the sibling sets
    "edges" and "filled-silhouettes" (SHAPE/SHAPE1.png to SHAPE/SHAPE10.png): told apart
    by whether any file name has a texture. Hidden files do not count.
    Raises FileNotFoundError where there is no such folder or a file is missing,
    ValueError for a file that does not belong there or is not an image, each naming the
    files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    present = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    }
    present = {
        name
        for name in present
        if not any(part.startswith(".") for part in name.split("/"))
    }
    with_texture = not present or any("-" in name for name in present)
    expected = (
        checksums()
        if with_texture
        else [
            f"{name}/{name}{number}.png"
            for name in categories()
            for number in range(1, 11)
        ]
    )
    if extra := sorted(present.difference(expected)):
        raise ValueError(
            f"{folder} holds files that do not belong there: {_some(extra)}"
        )
    if with_texture:
        return _verified(folder, expected)
    _refuse_missing(folder, [name for name in expected if name not in present])
    return {name: folder / name for name in expected}


def measure(paths: dict[str, Path]) -> Measurements:
    """`Measurements` of images, given as a dict from name to path.

    1,280 take about a minute on one core. Each image is prepared as for ImageNet
    (`helpers.backbone.prepare`) and classified in float32.
    Raises ValueError for no images, and naming a file that cannot be read as an image.
    """
    # Here, because timm takes seconds to import, and most chapters only read what was
    # measured.
    from PIL import Image
    from tqdm import tqdm

    from helpers.backbone import classifier, features, prepare

    def read(path):
        try:
            with Image.open(path) as image:
                return prepare(np.asarray(image.convert("RGB"))).float()
        except (
            OSError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
        ) as error:  # all of them come from damaged files
            raise ValueError(f"{path} cannot be read as an image: {error}") from None

    cues = _cues(paths)
    model = classifier().float().to(memory_format=torch.channels_last)
    pooled = []
    with tqdm(total=len(paths), unit="image") as progress:
        for batch in torch.arange(len(paths)).split(32):
            batch = [list(paths.values())[index] for index in batch]
            pooled.append(
                features(
                    model,
                    torch.cat([read(path) for path in batch]).to(
                        memory_format=torch.channels_last
                    ),
                )
            )
            progress.update(len(batch))
        pooled = {
            depth: torch.cat([part[depth] for part in pooled]) for depth in pooled[0]
        }
        logits = model.classifier(pooled["head"])
    return Measurements(
        list(paths),
        *cues,
        logits.double().softmax(-1),
        {depth: values.double() for depth, values in pooled.items()},
    )


def save(measurements: Measurements, path: str | Path) -> None:
    """Write `Measurements` into a compressed file that `load` reads.

    Probabilities are stored as their square roots in 16 bits (the shipped ones are off
    by 1e-5), each feature in 8 bits between its smallest and largest value. Until the
    file is whole it lies in a hidden folder beside its place.
    Raises ValueError for names that cannot be parsed, probabilities that are none,
    features that are not finite, and for other shapes.
    """
    _cues(measurements.names)
    count = len(measurements.names)
    category_probabilities(measurements.probabilities)  # refuses what are none
    named = {"probabilities": measurements.probabilities} | {
        f"features[{depth!r}]": values
        for depth, values in measurements.features.items()
    }
    for name, values in named.items():
        if not isinstance(values, torch.Tensor) or values.ndim != 2:
            raise ValueError(f"{name} must be a tensor of two dimensions")
        if len(values) != count:
            raise ValueError(
                f"{name} must have a row for each of {count} names, got {len(values)}"
            )
        if not values.float().isfinite().all():
            raise ValueError(f"{name} must be finite in float32")
    arrays = {
        "names": np.array(measurements.names),
        "root_probabilities": (measurements.probabilities.sqrt() * 65535)
        .round()
        .to(torch.uint16)
        .numpy(),
    }
    for depth, values in measurements.features.items():
        low, high = values.aminmax(dim=0)
        step = ((high - low) / 255).where(high > low, torch.ones_like(low))
        arrays[f"{depth}/low"], arrays[f"{depth}/step"] = (
            low.float().numpy(),
            step.float().numpy(),
        )
        arrays[f"{depth}/steps"] = np.ascontiguousarray(
            ((values - low) / step).round().to(torch.uint8).numpy().T
        )  # transposed, it is compressed better
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        unfinished = Path(folder) / path.name
        with zipfile.ZipFile(unfinished, "w") as archive:
            for name, array in arrays.items():
                # It has a fixed date: the same measurements make the same file.
                entry = zipfile.ZipInfo(f"{name}.npy")
                entry.compress_type = zipfile.ZIP_LZMA
                with archive.open(entry, "w") as file:
                    np.lib.format.write_array(file, array)
        unfinished.replace(path)


def load(path: str | Path | None = None) -> Measurements:
    """`Measurements` from a file written by `save`.

    Without a path: those of the 1,280 cue-conflict images, which ship with the book.
    Raises FileNotFoundError for no file, ValueError for any other file.
    """
    if path is None:
        with as_file(files("helpers").joinpath("data/cue_conflict.npz")) as shipped:
            return load(shipped)
    try:
        with np.load(path) as file:
            arrays = dict(file)
        names = arrays["names"].tolist()
    except FileNotFoundError:
        raise
    except Exception as error:  # of many kinds, from a file of another kind or damaged
        raise ValueError(f"{path} is no file that `save` wrote: {error}") from None
    probabilities, features = None, {}
    if "root_probabilities" in arrays:
        roots = arrays["root_probabilities"].astype(np.float64) / 65535
        probabilities = torch.from_numpy(roots) ** 2
        probabilities /= probabilities.sum(-1, keepdim=True)
    for depth in [
        name.removesuffix("/steps") for name in arrays if name.endswith("/steps")
    ]:
        low, step, steps = (
            torch.from_numpy(arrays[f"{depth}/{part}"]).double()
            for part in ("low", "step", "steps")
        )
        features[depth] = low + step * steps.T
    return Measurements(names, *_cues(names), probabilities, features)


def _cues(names):
    """The category indices of shapes and textures in file names, or None for these."""
    if not names:
        raise ValueError("there must be at least one image, got none")
    shapes, textures = zip(*map(parse, names))
    return (
        category_index(shapes),
        None if None in textures else category_index(textures),
    )


def _verified(folder, names):
    paths = {name: folder / name for name in names}
    _refuse_missing(
        folder, [name for name, path in paths.items() if not path.is_file()]
    )
    if wrong := [
        name
        for name, path in paths.items()
        if hashlib.sha256(path.read_bytes()).hexdigest() != checksums()[name]
    ]:
        raise ValueError(
            f"{folder} holds files that are not the published ones (SHA-256 differs): "
            f"{_some(wrong)}"
        )
    return paths


def _refuse_missing(folder, missing):
    if missing:
        raise FileNotFoundError(f"{folder} lacks {_some(missing)}")


def _downloaded(names):
    import pooch
    from requests import RequestException
    from tqdm.contrib.concurrent import thread_map

    store = pooch.create(
        pooch.os_cache("multilabel-book") / "cue-conflict",
        URL,
        registry=checksums(),
        retry_if_failed=2,  # of 1,280 requests one may well fail
    )
    for name in names:  # pooch's threads would collide in making the folders
        (store.abspath / name).parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
    try:
        paths = thread_map(store.fetch, names, max_workers=8, unit="image")
    except RequestException as error:
        raise FileNotFoundError(
            "the cue-conflict images are not on this machine and could not be "
            "downloaded: try again with internet (what was fetched is kept), or set "
            "CUE_CONFLICT_DIR to a folder that holds them. "
            f"({type(error).__name__})"
        ) from None
    return dict(zip(names, map(Path, paths)))


def _some(names):
    return ", ".join(map(str, names[:3])) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )


def _decisions(measurements):
    """The category of each image under every rule: (3, N)."""
    return torch.stack(
        [
            category_probabilities(measurements.probabilities, rule).argmax(-1)
            for rule in RULES
        ]
    )


def _same(again, shipped):
    """True where a measurement is the one that ships; prints how far it is from it."""
    order = [again.names.index(name) for name in shipped.names]
    same = (_decisions(again)[:, order] == _decisions(shipped)).all(0).sum().item()
    largest = (again.probabilities[order] - shipped.probabilities).abs().max().item()
    print(
        f"compared with what ships: {same} of {len(order)} images get the same "
        f"decisions, probabilities differ by at most {largest:.1g}"
    )
    return same == len(order) and largest <= TOLERANCE


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.stimuli",
        description="The cue-conflict images and what is measured on them.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "download", help="fetch the images, or verify those in CUE_CONFLICT_DIR"
    )
    command = commands.add_parser(
        "measure",
        help="measure a folder of images; the 1,280 are compared with what ships",
    )
    command.add_argument(
        "--images",
        metavar="FOLDER",
        help="cue-conflict (by default the downloaded), edges or filled-silhouettes",
    )
    command.add_argument(
        "--out", metavar="FILE", help="where to write the measurements (.npz)"
    )
    options = parser.parse_args(arguments)
    try:
        if options.command == "download":
            print(f"{len(images())} images, all verified")
            return
        if options.out and not Path(options.out).absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder for {options.out}")
        measurements = measure(
            images_in(options.images) if options.images else images()
        )
        if options.out:
            save(measurements, options.out)
            print(f"written: {options.out}")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    [decided, *_] = _decisions(measurements)
    print(
        f"{len(decided)} images; the category with the highest mean is the shape's "
        f"for {(decided == measurements.shape).sum()} of them"
    )
    if measurements.texture is not None and not _same(measurements, load()):
        sys.exit("error: this is not what ships with the book")


if __name__ == "__main__":
    main()
