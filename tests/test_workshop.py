"""The zip for a room without a network, unpacked where the path is an odd one."""

import hashlib
import re
import zipfile

import nbformat
import pytest

import teach
import workshop
from cells import code
from kernels import execute, only_exercises
from test_pages import browser  # noqa: F401  # the fixture

MOST_BYTES = 55e6  # about 3.4e6 for each chapter
# An editable installation is found by an object of its own.
WITHOUT_HELPERS = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "ditable" not in repr(finder)]
"""
TOP = {
    "README.md",
    "SHA256SUMS",
    "book",
    "learners",
    "teacher",
}


@pytest.fixture(scope="module")
def zipped(site, tmp_path_factory):
    return packed(site, tmp_path_factory.mktemp("zip"))


def packed(pages, folder):
    (folder / workshop.NAME).mkdir()
    workshop.gather(pages, folder / workshop.NAME)
    workshop.pack(folder / workshop.NAME, folder / "workshop.zip")
    return folder / "workshop.zip"


@pytest.fixture(scope="module")
def unpacked(zipped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("Übung am Montag")
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(folder)
    return folder / workshop.NAME


def test_it_is_the_same_when_made_twice(build, sources, zipped, tmp_path):
    """From pages that were built twice, too."""
    (tmp_path / "source").mkdir()
    source = sources(tmp_path / "source")
    built = build(source)
    assert built.returncode == 0, built.stdout
    again = packed(source / "_build" / "html", tmp_path)
    with zipfile.ZipFile(zipped) as one, zipfile.ZipFile(again) as other:
        sums = [{i.filename: i.CRC for i in z.infolist()} for z in (one, other)]
    assert sums[0] == sums[1]
    assert again.read_bytes() == zipped.read_bytes()


def test_it_is_small_and_holds_what_the_readme_names(zipped, unpacked):
    assert zipped.stat().st_size <= MOST_BYTES
    assert {path.name for path in unpacked.iterdir()} == TOP
    readme = (unpacked / "README.md").read_text("utf-8")
    for name in re.findall(r"`((?:book|learners|teacher)/[^`?]*)`", readme):
        assert (unpacked / name).exists(), name
    for folder in ("book/book", "learners", "teacher/notebooks"):
        found = sorted(path.stem for path in (unpacked / folder).glob("*.ipynb"))
        assert found == sorted(teach.CHAPTERS), folder


def test_its_sums_fit(unpacked):
    listed = {}
    for line in (unpacked / "SHA256SUMS").read_text("utf-8").splitlines():
        digest, name = line.split("  ", 1)
        listed[name] = digest
    found = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in workshop.files_in(unpacked)
    }
    del found["SHA256SUMS"]
    assert listed == found


def test_learners_get_no_answer(unpacked):
    for path in (unpacked / "learners").glob("*.ipynb"):
        assert "solution_" not in path.read_text("utf-8")


def test_a_learners_notebook_runs_there(unpacked):
    """As on a laptop that has the packages, and not the book's `helpers`."""
    notebook = nbformat.read(unpacked / "learners" / "loss.ipynb", as_version=4)
    alone = only_exercises(notebook)
    alone.cells.insert(0, nbformat.v4.new_code_cell(WITHOUT_HELPERS))
    assert execute(alone, unpacked / "learners") is None
    first = next(cell for cell in alone.cells if cell.id == "bootstrap")
    assert first.outputs[0].text.endswith("are ready.\n")
    said = [cell.outputs[0].text for cell in code(alone) if "Sealed(" in cell.source]
    assert said and all("not answered yet." in text for text in said)


@pytest.fixture(scope="module")
def tab(browser):  # noqa: F811
    return browser.new_page()


@pytest.mark.parametrize(
    "name, formulas",
    [
        ("book/book/index.html", False),
        ("book/book/loss.html", True),
        ("book/book/teaching.html", False),
        ("teacher/handout.html", True),
        ("teacher/plans.html", False),
        ("teacher/quiz.html", True),
        ("teacher/key.html", True),
        ("teacher/test_a.html", False),
        ("teacher/test_b.html", False),
        ("teacher/slides/loss.html", True),
    ],
)
def test_its_pages_open_from_there(tab, unpacked, name, formulas):
    errors, asked = [], []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("requestfailed", lambda request: errors.append(request.url))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((unpacked / name).as_uri())
    tab.evaluate("window.MathJax?.startup?.promise")
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    typeset = tab.evaluate("document.querySelectorAll('mjx-container').length")
    assert bool(typeset) >= formulas
    text = tab.evaluate("document.body.innerText")
    assert len(text) > 300 and not re.search(r"\\\(|\\\[", text)
    if name.endswith(("handout.html", "plans.html", "quiz.html", "key.html")):
        assert "**" not in text and "](" not in text


def test_paper_has_every_question_and_its_key(unpacked, tab):
    tab.goto((unpacked / "teacher/key.html").as_uri())
    key = tab.evaluate("document.body.innerText")
    tab.goto((unpacked / "teacher/quiz.html").as_uri())
    quiz = tab.evaluate("document.body.innerText")
    count = 5 * len(teach.CHAPTERS)
    assert len(re.findall(r"(?m)^\d\. ", quiz)) == count
    assert len(re.findall(r"· right: ", key)) == count + 10
    assert "· right: " not in quiz
