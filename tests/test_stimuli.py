import copy
import dataclasses
import hashlib
import itertools
import logging
import os
import struct
import subprocess
import sys
import threading
import time
import types
import zlib
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

import numpy as np
import pooch
import pytest
import torch
from PIL import Image

from helpers import backbone, stimuli
from helpers.backbone import classifier, features, prepare
from helpers.labels import categories, category_index, category_probabilities
from helpers.stimuli import (
    Measurements,
    checksums,
    images,
    images_in,
    load,
    main,
    measure,
    parse,
    save,
)

REAL = os.environ.get("CUE_CONFLICT_DIR")
NAMES = [
    "cat/cat1-dog2.png",
    "cat/cat2-cat10.png",
    "dog/dog3-truck1.png",
    "airplane/airplane1-bear4.png",
]
SIBLINGS = [
    f"{name}/{name}{number}.png" for name in categories() for number in range(1, 11)
]
CHANNELS = {
    "stem": 32,
    **{
        f"stage {number}": channels
        for number, channels in enumerate([16, 24, 40, 80, 112, 192, 320], 1)
    },
    "head": 1280,
}


def paint(folder, names, mode="RGB"):
    """Small pictures, each of its own."""
    for name in names:
        random = np.random.default_rng(list(name.encode()))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).convert(
            mode
        ).save(folder / name)
    return folder


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flip_one_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A folder of four small pictures that are taken for the published ones."""
    folder = paint(tmp_path / "published", NAMES)
    known = {name: sha256(folder / name) for name in NAMES}
    monkeypatch.setattr(stimuli, "checksums", lambda: known)
    monkeypatch.delenv("CUE_CONFLICT_DIR", raising=False)
    return folder


@pytest.mark.parametrize(
    "name, found",
    [
        ("cat/cat4-elephant2.png", ("cat", "elephant")),
        ("cat/cat4-cat12.png", ("cat", "cat")),
        ("airplane/airplane10-knife1.png", ("airplane", "knife")),
        ("cat/cat4.png", ("cat", None)),
        ("truck/truck10.png", ("truck", None)),
    ],
)
def test_parse(name, found):
    assert parse(name) == found


@pytest.mark.parametrize(
    "name",
    [
        "",
        "cat",
        "cat4-elephant2.png",
        "cat/cat.png",
        "cat/cat4-elephant.png",
        "cat/cat4-.png",
        "cat/cat-elephant2.png",
        "cat/4.png",
        "cat/cat4.jpg",
        "cat/cat4.PNG",
        "cat/cat4.png\n",
        "cat/cat4.png.png",
        "cat/cat4-png",
        "cat/Cat4.png",
        "a/cat/cat4.png",
        "/cat/cat4.png",
        "cat\\cat4.png",
        "cat/cat4-elephant2-dog1.png",
        "cat/ cat4.png",
        None,
        4,
    ],
)
def test_names_of_another_form(name):
    with pytest.raises(ValueError) as error:
        parse(name)
    assert (
        str(error.value)
        == f"{name!r} is not named SHAPE/SHAPE1-TEXTURE1.png or SHAPE/SHAPE1.png"
    )


@pytest.mark.parametrize(
    "name, message",
    [
        ("zebra/zebra1.png", "'zebra' is no name of the 16 categories"),
        ("cat/cat1-zebra1.png", "'zebra' is no name of the 16 categories"),
        ("cat/zebra1.png", "'zebra' is no name of the 16 categories"),
        (
            "dog/cat4.png",
            "'dog/cat4.png' has the shape 'cat' and lies in the folder 'dog'",
        ),
        (
            "elephant/cat4-elephant2.png",
            "'elephant/cat4-elephant2.png' has the shape 'cat' and lies in the "
            "folder 'elephant'",
        ),
    ],
)
def test_names_that_contradict(name, message):
    with pytest.raises(ValueError) as error:
        parse(name)
    assert str(error.value) == message


def test_checksums():
    found = checksums()
    assert len(found) == len(set(found.values())) == 1280
    assert all(
        len(value) == 64 and set(value) <= set("0123456789abcdef")
        for value in found.values()
    )
    shapes, textures = zip(*map(parse, found))
    for names in (shapes, textures):
        assert {name: names.count(name) for name in names} == dict.fromkeys(
            categories(), 80
        )
    assert sum(shape == texture for shape, texture in zip(shapes, textures)) == 80


def test_the_address_is_pinned():
    assert (
        stimuli.URL == "https://raw.githubusercontent.com/rgeirhos/texture-vs-shape/"
        f"{stimuli.COMMIT}/stimuli/style-transfer-preprocessed-512/"
    )
    assert len(stimuli.COMMIT) == 40 and stimuli.COMMIT in files("helpers").joinpath(
        "data/SOURCES.md"
    ).read_text("utf-8")


# From a folder


def test_the_folder_in_the_environment(published, monkeypatch):
    monkeypatch.setenv("CUE_CONFLICT_DIR", str(published))
    monkeypatch.setattr(
        "socket.socket.connect",
        lambda *arguments: pytest.fail("a connection was opened"),
    )
    assert (
        images() == {name: published / name for name in NAMES}
        and list(images()) == NAMES
    )
    assert (
        images([NAMES[2], NAMES[0]])
        == {name: published / name for name in (NAMES[2], NAMES[0])}
        and images([]) == {}
    )
    assert images(iter(NAMES[1:])) == {name: published / name for name in NAMES[1:]}
    (published / NAMES[0]).unlink()
    assert list(images(NAMES[1:])) == NAMES[1:]  # what was not asked for may be missing


@pytest.mark.parametrize(
    "names, message",
    [
        (
            ["cat/cat9-dog9.png"],
            "cat/cat9-dog9.png: not among the 1,280 cue-conflict images",
        ),
        (
            [NAMES[0], "a", NAMES[1], "b", "c"],
            "a, b, c: not among the 1,280 cue-conflict images",
        ),
        ([None], "None: not among the 1,280 cue-conflict images"),
        ("cat", "names must be several strings, got one, 'cat'"),
        (
            ["a", "b", "c", "d", "e"],
            "a, b, c and 2 more: not among the 1,280 cue-conflict images",
        ),
    ],
)
@pytest.mark.parametrize("folder", ["folder", ""])
def test_unknown_names(published, monkeypatch, names, message, folder):
    monkeypatch.setenv("CUE_CONFLICT_DIR", folder and str(published))
    with pytest.raises(ValueError) as error:
        images(names)
    assert str(error.value) == message


def from_the_environment(folder, monkeypatch):
    monkeypatch.setenv("CUE_CONFLICT_DIR", str(folder))
    return images()


both_ways = pytest.mark.parametrize(
    "read",
    [from_the_environment, lambda folder, monkeypatch: images_in(folder)],
    ids=["images", "images_in"],
)


@both_ways
def test_missing_files(published, monkeypatch, read):
    (published / NAMES[1]).unlink()
    with pytest.raises(FileNotFoundError) as error:
        read(published, monkeypatch)
    assert str(error.value) == f"{published} lacks {NAMES[1]}"


@both_ways
def test_corrupt_files(published, monkeypatch, read):
    flip_one_byte(published / NAMES[1]), (published / NAMES[3]).write_bytes(b"")
    with pytest.raises(ValueError) as error:
        read(published, monkeypatch)
    assert (
        str(error.value)
        == f"{published} holds files that are not the published ones (SHA-256 "
        f"differs): {NAMES[1]}, {NAMES[3]}"
    )


@both_ways
def test_an_empty_folder(published, monkeypatch, read, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        read(tmp_path / "empty", monkeypatch)
    assert (
        str(error.value)
        == f"{tmp_path / 'empty'} lacks {', '.join(NAMES[:3])} and 1 more"
    )


def test_a_complete_folder(published):
    assert (
        images_in(published)
        == images_in(str(published))
        == {name: published / name for name in NAMES}
        and list(images_in(published)) == NAMES
    )


def test_hidden_files_do_not_count(published):
    for name in (".DS_Store", "cat/.cat1-dog2.png.swp", ".ipynb_checkpoints/cat1.png"):
        (
            (published / name).parent.mkdir(exist_ok=True),
            (published / name).write_text(""),
        )
    assert list(images_in(published)) == NAMES


@pytest.mark.parametrize(
    "extra",
    ["readme.txt", "cat/cat3-dog2.png", "cat/cat1.png", "more/cat/cat1-dog2.png"],
)
def test_extra_files(published, extra):
    (
        (published / extra).parent.mkdir(exist_ok=True, parents=True),
        (published / extra).write_text(""),
    )
    (published / NAMES[0]).unlink()  # what does not belong there is said first
    with pytest.raises(ValueError) as error:
        images_in(published)
    assert (
        str(error.value) == f"{published} holds files that do not belong there: {extra}"
    )


def test_no_such_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(FileNotFoundError) as error:
            images_in(folder)
        assert str(error.value) == f"there is no folder {folder}"


@pytest.fixture
def siblings(tmp_path):
    return paint(tmp_path / "siblings", SIBLINGS)


def test_a_sibling_set(siblings):
    (siblings / ".hidden").write_text("")
    assert (
        images_in(siblings) == {name: siblings / name for name in SIBLINGS}
        and list(images_in(siblings)) == SIBLINGS
        and len(SIBLINGS) == 160
    )


def test_a_sibling_set_with_missing_files(siblings):
    for name in SIBLINGS[40:45]:
        (siblings / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        images_in(siblings)
    assert (
        str(error.value) == f"{siblings} lacks {', '.join(SIBLINGS[40:43])} and 2 more"
    )


@pytest.mark.parametrize(
    "extra",
    [
        "cat/cat11.png",
        "cat/cat0.png",
        "cat/cat01.png",
        "zebra/zebra1.png",
        "cat1.png",
        "Thumbs.db",
    ],
)
def test_a_sibling_set_with_extra_files(siblings, extra):
    (siblings / extra).parent.mkdir(exist_ok=True), (siblings / extra).write_text("")
    with pytest.raises(ValueError) as error:
        images_in(siblings)
    assert (
        str(error.value) == f"{siblings} holds files that do not belong there: {extra}"
    )


def test_the_two_sets_in_one_folder(siblings):
    paint(siblings, list(checksums())[:1])
    with pytest.raises(ValueError) as error:
        images_in(siblings)
    assert (
        str(error.value) == f"{siblings} holds files that do not belong there: "
        f"{', '.join(sorted(SIBLINGS)[:3])} and 157 more"
    )


# By download


@pytest.fixture
def server(published, monkeypatch, tmp_path):
    """`published` on a server of this machine, which notes what it is asked for.

    If told to, it begins late, stops in time, or stops in the middle of a file. Nobody
    waits before asking again.
    """

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=published)

        def do_GET(self):
            server.requested.append(self.path[1:])
            if not server.begins_after < next(server.number) <= server.stops_after:
                return self.send_error(503)
            if self.path[1:] == server.cuts:
                (
                    self.send_response(200),
                    self.send_header("Content-Length", "1000"),
                    self.end_headers(),
                )
                return self.wfile.write((published / server.cuts).read_bytes()[:100])
            super().do_GET()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requested, server.number, server.cuts = [], itertools.count(1), None
    server.begins_after, server.stops_after = 0, 100
    server.waits = []
    monkeypatch.setattr(
        pooch.core, "time", types.SimpleNamespace(sleep=server.waits.append)
    )
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    monkeypatch.setattr(stimuli, "URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    server.cache = tmp_path / "cache" / "multilabel-book" / "cue-conflict"
    yield server
    server.shutdown(), server.server_close()


def kept(server):
    return {
        path.relative_to(server.cache).as_posix()
        for path in server.cache.rglob("*")
        if path.is_file()
    }


def test_a_download(server, published, capsys):
    assert (
        images() == {name: server.cache / name for name in NAMES}
        and list(images()) == NAMES
    )
    assert sorted(server.requested) == sorted(NAMES) and kept(server) == set(
        NAMES
    )  # each once, though asked twice
    assert all(
        (server.cache / name).read_bytes() == (published / name).read_bytes()
        for name in NAMES
    )
    printed = capsys.readouterr()
    assert (
        "4/4" in printed.err
        and printed.out == ""
        and not pooch.get_logger().isEnabledFor(logging.INFO)
    )  # a progress bar, and no line for each file


def test_a_download_of_some(server):
    assert images(NAMES[2:]) == {
        name: server.cache / name for name in NAMES[2:]
    } and sorted(server.requested) == sorted(NAMES[2:])
    images()
    assert sorted(server.requested) == sorted(NAMES)


def test_a_download_into_a_new_folder_by_several_threads_at_once(server, monkeypatch):
    make = os.makedirs

    def slowly(*arguments, **options):
        time.sleep(
            0.05
        )  # long enough for every thread to have seen that there is no folder
        make(*arguments, **options)

    monkeypatch.setattr(os, "makedirs", slowly)
    assert list(images()) == NAMES


SENTENCE = (
    "the cue-conflict images are not on this machine and could not be downloaded: "
    "try again with internet (what was fetched is kept), or "
    "set CUE_CONFLICT_DIR to a folder that holds them. "
)


def test_a_download_that_stops_goes_on_where_it_was(server):
    server.stops_after = 2
    with pytest.raises(FileNotFoundError) as error:
        images()
    assert str(error.value) == SENTENCE + "(HTTPError)"
    there = kept(server)
    assert len(there) == 2
    server.stops_after = 100
    server.requested.clear()
    assert list(images()) == NAMES and sorted(server.requested) == sorted(
        set(NAMES) - there
    )


def test_requests_that_fail_are_repeated_twice(server):
    server.begins_after = 2
    assert list(images(NAMES[:1])) == NAMES[:1]
    assert server.requested == NAMES[:1] * 3 and server.waits == [1, 2]
    server.begins_after = 100
    with pytest.raises(FileNotFoundError):
        images(NAMES[1:2])
    assert server.requested[3:] == NAMES[1:2] * 3


def test_a_file_cut_short_on_the_way(server):
    server.cuts = NAMES[0]
    with pytest.raises(FileNotFoundError) as error:
        images()
    assert str(error.value).startswith(SENTENCE) and kept(server) <= set(NAMES[1:])
    server.cuts = None
    server.requested.clear()
    assert list(images()) == NAMES and server.requested.count(NAMES[0]) == 1


def test_a_download_of_something_else(server, published):
    flip_one_byte(published / NAMES[2])
    with pytest.raises(
        ValueError,
        match=r"^SHA256 hash of downloaded file \(dog3-truck1.png\) does not match "
        r"the known hash",
    ):
        images()
    assert kept(server) <= set(NAMES) - {NAMES[2]}


def test_a_file_that_has_become_corrupt_is_fetched_again(server, published):
    images()
    flip_one_byte(server.cache / NAMES[1])
    server.requested.clear()
    images()
    assert server.requested == [NAMES[1]] and sha256(server.cache / NAMES[1]) == sha256(
        published / NAMES[1]
    )


def test_without_a_connection(server):
    server.shutdown(), server.server_close()
    for names in (None, NAMES[:1]):
        with pytest.raises(FileNotFoundError) as error:
            images(names)
        assert (
            str(error.value) == SENTENCE + "(ConnectionError)"
            and error.value.__suppress_context__
            and not error.value.__cause__
        )


# Measurements


@pytest.fixture(scope="module")
def network():
    return classifier()


@pytest.fixture
def ready(monkeypatch, network):
    """The weights are read once for all tests."""
    monkeypatch.setattr(backbone, "classifier", lambda: copy.deepcopy(network))


PICTURES = [
    f"{name}/{name}{number}-{name}{number}.png"
    for number in (2, 1, 3)
    for name in reversed(categories())
][:35]  # more than one batch


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number, name in enumerate(PICTURES):
        paint(folder, [name], ["RGB", "L", "RGBA", "P"][number % 4])
    return {name: folder / name for name in PICTURES}


@pytest.fixture(scope="module")
def measured(pictures):
    return measure(pictures)


def test_what_a_measurement_is(measured):
    assert (
        measured.names == PICTURES
        and measured.probabilities.shape == (35, 1000)
        and measured.probabilities.dtype == torch.float64
    )
    assert (
        torch.equal(measured.shape, measured.texture)
        and measured.shape.dtype == torch.int64
    )
    assert measured.shape.tolist() == [
        *range(15, -1, -1),
        *range(15, -1, -1),
        15,
        14,
        13,
    ]
    assert {depth: values.shape for depth, values in measured.features.items()} == {
        depth: (35, channels) for depth, channels in CHANNELS.items()
    }
    assert list(measured.features) == list(CHANNELS)
    for values in (measured.probabilities, *measured.features.values()):
        assert (
            values.dtype == torch.float64
            and values.isfinite().all()
            and not values.requires_grad
            and not values.is_inference()
        )
    assert (measured.probabilities.sum(-1) - 1).abs().max() < 1e-12


def test_a_measurement_agrees_with_float64(measured, pictures, network):
    for row in (0, 1, 2, 3, 31, 32, 34):
        with Image.open(pictures[PICTURES[row]]) as image:
            prepared = prepare(np.asarray(image.convert("RGB")))
        assert torch.allclose(
            measured.probabilities[row],
            network(prepared).softmax(-1)[0],
            rtol=0,
            atol=1e-4,
        )
        for depth, values in features(network, prepared).items():
            assert torch.allclose(
                measured.features[depth][row], values[0], rtol=1e-4, atol=1e-4
            ), depth


def test_a_measurement_shows_its_progress(published, ready, capsys):
    some = measure(dict(list(images_in(published).items())[:2]))
    assert (
        "2/2" in capsys.readouterr().err
        and some.shape.tolist() == [7, 7]
        and some.texture.tolist() == [10, 7]
    )


def test_images_without_a_texture(siblings, ready):
    measured = measure({name: siblings / name for name in SIBLINGS[70:72]})
    assert measured.texture is None and measured.shape.tolist() == [7, 7]


def too_short_a_chunk(content):
    """The length that stands before the pixels is too small, so that the next chunk
    seems to begin among them.
    """
    at = content.index(b"IDAT")
    return content[: at - 1] + b"\x20" + content[at:]


def enormous(content):
    """The header promises 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"this is no image",
        lambda content: content[:-30],
        lambda content: content[:60],
        lambda content: content[:11] + b"\x0c" + content[12:],
        too_short_a_chunk,
        enormous,
    ],
    ids=["empty", "text", "no end", "no pixels", "header", "chunk", "enormous"],
)
def test_a_file_that_is_no_image(siblings, ready, damage):
    path = siblings / SIBLINGS[3]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError) as error:
        measure(
            {
                name: path
                for name, path in images_in(siblings).items()
                if name.startswith("airplane")
            }
        )
    assert str(error.value).startswith(f"{path} cannot be read as an image: ")


def test_a_name_that_cannot_be_parsed_is_refused_before_anything_is_measured(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(
        backbone, "classifier", lambda: pytest.fail("the weights were read")
    )
    with pytest.raises(ValueError, match="^'zebra' is no name of the 16 categories$"):
        measure({"zebra/zebra1.png": tmp_path})
    with pytest.raises(
        ValueError, match="^there must be at least one image, got none$"
    ):
        measure({})


def made(names=tuple(NAMES), seed=0):
    """Measurements like real ones, a feature that never changes among them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(names), 30, generator=generator) * torch.logspace(
        -3, 2, 30
    )
    values[:, 7], values[:, 8] = 0.1, 0
    shapes, textures = zip(*map(parse, names))
    return Measurements(
        list(names),
        category_index(shapes),
        None if None in textures else category_index(textures),
        (torch.randn(len(names), 1000, generator=generator).double() * 5).softmax(-1),
        {"stem": values.double(), "stage 1": values[:, :8].double().flip(1)},
    )


@pytest.mark.parametrize(
    "names", [NAMES, SIBLINGS, NAMES[:1]], ids=["textures", "no textures", "one image"]
)
def test_saved_and_loaded(names, tmp_path):
    before = made(names)
    save(before, tmp_path / "it.npz")
    after = load(tmp_path / "it.npz")
    assert after.names == before.names and torch.equal(after.shape, before.shape)
    assert (
        after.texture is None
        if before.texture is None
        else torch.equal(after.texture, before.texture)
    )
    assert (after.probabilities - before.probabilities).abs().max() <= 2e-5 and (
        after.probabilities.sum(-1) - 1
    ).abs().max() < 1e-12
    assert after.probabilities.dtype == torch.float64 and list(after.features) == list(
        before.features
    )
    for depth, values in before.features.items():
        assert (
            after.features[depth].dtype == torch.float64
            and after.features[depth].shape == values.shape
        )
        spread = values.amax(0) - values.amin(0)
        assert (
            (after.features[depth] - values).abs() <= spread * 1.0001 / 510
        ).all()  # the ends of the range are rounded too, to float32
        constant = spread == 0
        assert constant.sum() >= 1 and torch.equal(
            after.features[depth][:, constant], values[:, constant]
        )
    assert [path.name for path in tmp_path.iterdir()] == ["it.npz"]
    if len(names) > 100:
        assert (
            (tmp_path / "it.npz").stat().st_size
            < 0.7 * 2 * before.probabilities.numel()
        )  # compressed: less than the probabilities' 16 bits


def test_the_same_measurements_make_the_same_file(tmp_path, monkeypatch):
    save(made(), tmp_path / "a.npz")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    save(made(), str(tmp_path / "b.npz"))
    save(made(seed=1), tmp_path / "c.npz")
    a, b, c = ((tmp_path / f"{name}.npz").read_bytes() for name in "abc")
    assert a == b and a != c


def test_nothing_is_half_written(tmp_path, monkeypatch):
    save(made(), tmp_path / "old.npz")
    old, write, written = (
        (tmp_path / "old.npz").read_bytes(),
        np.lib.format.write_array,
        [],
    )

    def fail(file, array):
        written.append(array)
        if len(written) == 4:
            raise OSError("no space left")
        write(file, array)

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    for name in ("old", "new"):
        written.clear()
        with pytest.raises(OSError, match="^no space left$"):
            save(made(seed=1), tmp_path / f"{name}.npz")
    assert (tmp_path / "old.npz").read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["old.npz"]


def test_two_runs_at_once(tmp_path, monkeypatch):
    """The second one writes the same file while the first one does."""
    save(made(), tmp_path / "expected.npz")
    write = np.lib.format.write_array

    def interrupted(file, array):
        monkeypatch.setattr(np.lib.format, "write_array", write)
        save(made(seed=1), tmp_path / "it.npz")
        write(file, array)

    monkeypatch.setattr(np.lib.format, "write_array", interrupted)
    save(made(), tmp_path / "it.npz")
    it, expected = tmp_path / "it.npz", tmp_path / "expected.npz"
    assert set(tmp_path.iterdir()) == {it, expected}
    assert it.read_bytes() == expected.read_bytes()
    assert it.stat().st_mode == (paint(tmp_path, NAMES[:1]) / NAMES[0]).stat().st_mode


def with_probabilities(change):
    measured = made()
    return dataclasses.replace(measured, probabilities=change(measured.probabilities))


def with_features(values):
    return dataclasses.replace(made(), features={"stem": values})


def with_a(value, values):
    values = values.clone()
    values[1, 2] = value
    return values


@pytest.mark.parametrize(
    "measurements, message",
    [
        (
            with_probabilities(lambda p: with_a(torch.nan, p)),
            "probabilities must be finite, got values from nan to nan",
        ),
        (
            with_probabilities(lambda p: with_a(torch.inf, p)),
            "probabilities must be finite, got values from .+ to inf",
        ),
        (
            with_probabilities(lambda p: with_a(-0.5, p)),
            "probabilities must not be negative .+: the smallest is -0.5, and .+",
        ),
        (
            with_probabilities(lambda p: p[:, :999]),
            r"probabilities must have shape \(..., 1000\) .+, got \(4, 999\)",
        ),
        (
            with_probabilities(lambda p: p.half()),
            "probabilities must be a float32 or float64 tensor, got torch.float16",
        ),
        (
            with_probabilities(lambda p: p[:3]),
            "probabilities must have a row for each of 4 names, got 3",
        ),
        (
            with_probabilities(lambda p: p[0]),
            "probabilities must be a tensor of two dimensions",
        ),
        (
            with_features(torch.ones(5, 3)),
            r"features\['stem'\] must have a row for each of 4 names, got 5",
        ),
        (
            with_features(torch.ones(4)),
            r"features\['stem'\] must be a tensor of two dimensions",
        ),
        (
            with_features(np.ones((4, 3))),
            r"features\['stem'\] must be a tensor of two dimensions",
        ),
        (
            with_features(with_a(torch.nan, torch.ones(4, 3))),
            r"features\['stem'\] must be finite in float32",
        ),
        (
            with_features(with_a(-1e39, torch.ones(4, 3).double())),
            r"features\['stem'\] must be finite in float32",
        ),
        (dataclasses.replace(made(), names=[]), "there must be at least one image, .+"),
        (
            dataclasses.replace(made(), names=["cat.png", *NAMES[1:]]),
            "'cat.png' is not named SHAPE/.+",
        ),
    ],
    ids=range(14),
)
def test_what_cannot_be_saved(tmp_path, measurements, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        save(measurements, tmp_path / "it.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no measurements",
        lambda content: content[:-100],
        lambda content: content[:500] + bytes(len(content) - 1000) + content[-500:],
    ],
    ids=["empty", "text", "no end", "no middle"],
)
def test_what_cannot_be_loaded(tmp_path, damage):
    path = tmp_path / "it.npz"
    save(made(), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError) as error:
        load(path)
    assert str(error.value).startswith(f"{path} is no file that `save` wrote: ")


def test_other_files_that_cannot_be_loaded(tmp_path):
    np.save(tmp_path / "one.npy", np.ones(3))
    np.savez(tmp_path / "other.npz", other=np.ones(3))
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match="is no file that `save` wrote: "):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere.npz")


# What ships


@pytest.fixture(scope="module")
def shipped():
    return load()


def test_what_ships(shipped):
    assert shipped.names == list(checksums())
    shapes, textures = zip(*map(parse, shipped.names))
    assert torch.equal(shipped.shape, category_index(shapes)) and torch.equal(
        shipped.texture, category_index(textures)
    )
    assert {
        depth: tuple(values.shape) for depth, values in shipped.features.items()
    } == {depth: (1280, channels) for depth, channels in CHANNELS.items()}
    assert list(shipped.features) == list(CHANNELS) and shipped.probabilities.shape == (
        1280,
        1000,
    )
    assert (shipped.probabilities >= 0).all() and (
        shipped.probabilities.sum(-1) - 1
    ).abs().max() < 1e-12
    assert all(
        values.isfinite().all() and (values.std(0) > 0).any()
        for values in shipped.features.values()
    )


def test_the_rows_belong_to_the_names(shipped):
    """Where shape and texture are of one category, the classifier mostly names it;
    where they are not, it names one of the two far more often than chance.
    """
    decided = category_probabilities(shipped.probabilities).argmax(-1)
    agreed = shipped.shape == shipped.texture
    assert (
        agreed.sum() == 80 and (decided == shipped.shape)[agreed].double().mean() > 0.7
    )
    assert ((decided == shipped.shape) | (decided == shipped.texture))[
        ~agreed
    ].double().mean() > 0.4


def test_the_features_make_the_probabilities(shipped, network):
    """8 bits displace each of 1,280 features by up to 1/510 of its range, and a logit
    by 0.01 (one standard deviation); nowhere by six of them.
    """
    head = shipped.features["head"]
    weight, range_of = network.classifier.weight, head.amax(0) - head.amin(0)
    displaced = (weight**2 @ (range_of / 510) ** 2 / 3).sqrt().max()
    assert 0.005 < displaced < 0.01
    again, stored = (
        network.classifier(head).log_softmax(-1),
        shipped.probabilities.log(),
    )
    assert (again - stored)[shipped.probabilities > 1e-3].abs().max() < 6 * displaced


def test_what_ships_is_small():
    sizes = {
        path.name: path.stat().st_size
        for path in files("helpers").joinpath("data").iterdir()
        if path.name.startswith("cue_conflict")
    }
    assert (
        set(sizes) == {"cue_conflict.npz", "cue_conflict_sha256.txt"}
        and sum(sizes.values()) <= 4_000_000
    )


def test_reading_what_ships_needs_neither_timm_nor_a_network():
    code = (
        "import sys; import helpers.stimuli as s; assert len(s.load().names) == 1280; "
        "found = {'timm', 'torchvision', 'requests'} & set(sys.modules); "
        "sys.exit(' '.join(found) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


# From a shell


@pytest.fixture
def shipped_is(monkeypatch, tmp_path):
    """A function that makes measurements the ones that ship."""

    def ships(measurements):
        save(measurements, tmp_path / "shipped.npz")
        monkeypatch.setattr(stimuli, "load", lambda: load(tmp_path / "shipped.npz"))

    return ships


def exits(*arguments):
    with pytest.raises(SystemExit) as error:
        main([str(argument) for argument in arguments])
    return error.value.code


def test_measure_and_compare(published, ready, shipped_is, tmp_path, capsys):
    measured = measure(images_in(published))
    order = [2, 0, 3, 1]  # the comparison goes by name
    shipped_is(
        Measurements(
            [measured.names[index] for index in order],
            measured.shape[order],
            measured.texture[order],
            measured.probabilities[order],
            {depth: values[order] for depth, values in measured.features.items()},
        )
    )
    capsys.readouterr()
    main(["measure", "--images", str(published), "--out", str(tmp_path / "out.npz")])
    first, second, third = capsys.readouterr().out.splitlines()
    right = (
        category_probabilities(measured.probabilities).argmax(-1) == measured.shape
    ).sum()
    assert first == f"written: {tmp_path / 'out.npz'}"
    assert (
        second
        == f"4 images; the category with the highest mean is the shape's for {right} "
        f"of them"
    )
    assert third.startswith(
        "compared with what ships: 4 of 4 images get the same decisions, "
        "probabilities differ by at most "
    )
    assert float(third.split()[-1]) <= 2e-5
    save(measured, tmp_path / "expected.npz")
    assert (tmp_path / "out.npz").read_bytes() == (
        tmp_path / "expected.npz"
    ).read_bytes()


def swapped(row):
    """The best and the worst category change places."""
    scores = category_probabilities(row)
    best, worst = (
        list(categories().values())[index][0]
        for index in (scores.argmax(), scores.argmin())
    )
    row = row.clone()
    row[[best, worst]] = torch.stack(
        [row.new_tensor(0.0), row[best] + row[worst] + 0.5]
    )
    return row / row.sum()


def moved(row):
    """2e-4 go from one class to another, neither in a category."""
    row = row.clone()
    outside = sorted(
        set(range(1000))
        - {index for members in categories().values() for index in members}
    )
    row[outside[row[outside].argmax()]] -= 2e-4
    row[outside[row[outside].argmin()]] += 2e-4
    return row


@pytest.mark.parametrize("change, same", [(swapped, 3), (moved, 4)])
def test_a_measurement_that_differs(published, ready, shipped_is, capsys, change, same):
    measured = measure(images_in(published))
    measured.probabilities[2] = change(measured.probabilities[2])
    shipped_is(measured)
    assert (
        exits("measure", "--images", published)
        == "error: this is not what ships with the book"
    )
    printed = capsys.readouterr().out
    assert (
        f"compared with what ships: {same} of 4 images get the same decisions, "
        f"probabilities differ by at most " in printed
    )
    assert float(printed.split()[-1]) > 1e-4


@pytest.mark.parametrize(
    "airliner, bicycles",
    [([1 / 3], [1 / 2, 1 / 6]), ([1 / 2], [1 / 4, 1 / 4]), ([5 / 12], [5 / 12, 1 / 6])],
    ids=["mean", "sum", "max"],
)
def test_a_decision_that_differs_by_less_than_the_tolerance(capsys, airliner, bicycles):
    """Airplane and bicycle are within 1e-5 of each other under one rule: the
    probabilities are close enough, that decision is another.
    """
    again, shipped = made(), made()
    for measurements, difference in [(again, 1e-5), (shipped, -1e-5)]:
        measurements.probabilities[1] = 0
        measurements.probabilities[1, [404, 444, 671]] = torch.tensor(
            [*airliner, *bicycles], dtype=torch.float64
        )
        measurements.probabilities[1, [404, 444]] += difference * torch.tensor([1, -1])
    assert stimuli._same(again, again) and not stimuli._same(again, shipped)
    assert (
        "3 of 4 images get the same decisions, probabilities differ by at most 2e-05"
        in capsys.readouterr().out
    )


def test_what_is_counted_is_the_mean(published, monkeypatch, capsys):
    """The mean names the airplane, sum and maximum the bicycle."""
    measured = made()
    measured.probabilities[:] = 0
    measured.probabilities[:, [404, 444, 671]] = torch.tensor(
        [0.4, 0.5, 0.1], dtype=torch.float64
    )
    monkeypatch.setattr(stimuli, "measure", lambda paths: measured)
    monkeypatch.setattr(stimuli, "load", lambda: measured)
    main(["measure", "--images", str(published)])
    assert capsys.readouterr().out.splitlines() == [
        "4 images; the category with the highest mean is the shape's for 1 of them",
        "compared with what ships: 4 of 4 images get the same decisions, "
        "probabilities differ by at most 0",
    ]


def test_measure_the_downloaded_images(server, ready, shipped_is, capsys):
    shipped_is(measure(images()))
    main(["measure"])
    assert "4 of 4 images get the same decisions" in capsys.readouterr().out


def test_measure_a_sibling_set(tmp_path, monkeypatch, ready, capsys):
    monkeypatch.setattr(stimuli, "categories", lambda: ["cat", "dog"])
    monkeypatch.setattr(
        stimuli, "load", lambda: pytest.fail("it was compared with what ships")
    )
    folder = paint(
        tmp_path / "edges",
        [name for name in SIBLINGS if name.startswith(("cat", "dog"))],
    )
    main(["measure", "--images", str(folder), "--out", str(tmp_path / "edges.npz")])
    written, line = capsys.readouterr().out.splitlines()
    assert (
        line.startswith(
            "20 images; the category with the highest mean is the shape's for "
        )
        and "compared" not in line
    )
    assert (
        load(tmp_path / "edges.npz").texture is None
        and load(tmp_path / "edges.npz").shape.tolist() == [7] * 10 + [10] * 10
    )


def test_folders_that_do_not_do(published, monkeypatch, tmp_path):
    monkeypatch.setattr(
        stimuli, "measure", lambda paths: pytest.fail("something was measured")
    )
    assert (
        exits("measure", "--images", tmp_path / "nowhere")
        == f"error: there is no folder {tmp_path / 'nowhere'}"
    )
    out = tmp_path / "no" / "out.npz"
    assert (
        exits("measure", "--images", published, "--out", out)
        == f"error: there is no folder for {out}"
    )
    (published / "extra.txt").write_text("")
    assert (
        exits("measure", "--images", published)
        == f"error: {published} holds files that do not belong there: extra.txt"
    )
    (published / "extra.txt").unlink(), flip_one_byte(published / NAMES[0])
    for command in (["measure"], ["download"]):
        monkeypatch.setenv("CUE_CONFLICT_DIR", str(published))
        assert (
            exits(*command)
            == f"error: {published} holds files that are not the published ones "
            f"(SHA-256 differs): {NAMES[0]}"
        )


def test_download(server, published, monkeypatch, capsys):
    main(["download"])
    assert capsys.readouterr().out == "4 images, all verified\n" and kept(
        server
    ) == set(NAMES)
    monkeypatch.setenv("CUE_CONFLICT_DIR", str(published))
    server.requested.clear()
    main(["download"])
    assert (
        capsys.readouterr().out == "4 images, all verified\n" and server.requested == []
    )


def test_download_without_a_connection(server):
    server.shutdown(), server.server_close()
    assert exits("download") == f"error: {SENTENCE}(ConnectionError)"


def test_from_a_shell(tmp_path):
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "helpers.stimuli",
            "measure",
            "--images",
            tmp_path / "no",
        ],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (
        1,
        "",
        f"error: there is no folder {tmp_path / 'no'}\n",
    )


@pytest.mark.skipif(
    not REAL,
    reason="the 1,280 cue-conflict images are not here: set CUE_CONFLICT_DIR",
)
def test_the_real_images_are_measured_again(shipped, tmp_path):
    command = [
        sys.executable,
        "-m",
        "helpers.stimuli",
        "measure",
        "--images",
        REAL,
        "--out",
        tmp_path / "again.npz",
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (
        "1280/1280" in run.stderr
        and "compared with what ships: 1280 of 1280 images get the same decisions"
        in run.stdout
    )
    again = load(tmp_path / "again.npz")
    order = [again.names.index(name) for name in shipped.names]
    assert (again.probabilities[order] - shipped.probabilities).abs().max() <= 1e-4
    for (
        depth,
        values,
    ) in (
        shipped.features.items()
    ):  # a value close to the middle of two steps may be rounded to either
        step = (values.amax(0) - values.amin(0)) / 255
        assert (
            (again.features[depth][order] - values).abs() <= 1.01 * step + 1e-4
        ).all(), depth


def test_a_variable_that_names_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CUE_CONFLICT_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(
        FileNotFoundError, match=r"^CUE_CONFLICT_DIR names no folder: .*nowhere$"
    ):
        stimuli.images()
