"""Acts that must not go unnoticed: each is done to a copy, and has to be found.

Breaking a page is done in tests/test_pages.py and tests/test_book.py.
"""

import copy
import io
import re
from base64 import b64decode, b64encode

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image, ImageDraw, ImageFilter

import notebooks
import test_notebooks
from cells import code
from kernels import ALIKE_ELSEWHERE, alike, differences, execute

CHAPTER = notebooks.ROOT / "book" / "inflated_accuracy.ipynb"

PEEK = "import helpers; open(helpers.__path__[0] + '/data/shape_bias.csv', 'rb').read()"
DRAW = """
import matplotlib.pyplot as plt
import numpy as np

from helpers import style

style.use()
numbers = np.random.default_rng(0).standard_normal(100)
plt.plot(numbers.cumsum())
plt.title("A walk")
plt.show()
"""
CLAIM = """
# @title Measure the claim
claim("Most walks end away from zero", abs(numbers.sum()) > 1, f"{numbers.sum():.3f}")
"""
CHECK = """
# @title Check the answer
from helpers.exercises import Exercise

check_1 = Exercise("Your turn 1", right=4, hints=[(3, "count again.")])
check_1(answer_1)
"""
SOLUTION = """
# @title Show the solution
solution_1 = 4
check_1(solution_1)
"""
CELLS = {
    "bootstrap": (notebooks.BOOTSTRAP, ["hide-input"]),
    "draw": (DRAW, []),
    "claim-walk": (CLAIM, ["claim", "hide-input"]),
    "exercise-1": ("answer_1 = ...", []),
    "check-1": (CHECK, ["hide-input"]),
    "solution-1": (SOLUTION, ["hide-cell", "solution"]),
}


def run_again(notebook, folder):
    """What `make test` finds in a notebook that it runs again."""
    again = copy.deepcopy(notebook)
    problem = execute(again, folder, audit=True)
    return problem or "\n".join(differences(notebook, again))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("book")


@pytest.fixture(scope="module")
def sound(folder):
    """A small notebook in which nothing is wrong, with its outputs."""
    cells = [
        new_code_cell(source.strip(), id=name, metadata={"tags": tags})
        for name, (source, tags) in CELLS.items()
    ]
    notebook = new_notebook(cells=cells)
    assert execute(notebook, folder) is None
    return notebook


@pytest.fixture
def small(sound):
    return copy.deepcopy(sound)


@pytest.fixture
def chapter():
    return nbformat.read(CHAPTER, as_version=4)


def cell(notebook, name):
    [found] = [cell for cell in notebook.cells if cell.id == name]
    return found


def test_nothing_is_found_in_a_sound_notebook(small, folder):
    assert run_again(small, folder) == ""
    assert [cell.execution_count for cell in code(small)] == [1, 2, 3, 4, 5, 6]


# What is found without running anything.


def test_a_digit_of_an_output(small, sound):
    output = cell(small, "claim-walk").outputs[0]
    said = output.data["text/markdown"]
    digit = re.search(r"\d(?=\.$)", said)[0]
    changed = f"{said[:-2]}{(int(digit) + 1) % 10}."
    output.data["text/markdown"] = changed
    [found] = differences(small, sound)
    assert "'claim-walk' gives something else" in found
    for line in (f"-text/markdown: {changed}", f"+text/markdown: {said}"):
        assert line.replace("**Most walks end away from zero.**\n\n", "") in found


def test_metadata_of_a_claim(small, sound, chapter):
    cell(small, "claim-walk").outputs[0].metadata["claim"]["statement"] = "Cats are"
    [found] = differences(small, sound)
    assert "metadata: statement: Cats are" in found
    claimed = next(c for c in code(chapter) if "claim" in test_notebooks.tags(c))
    claimed.outputs[0].metadata["claim"]["evidence"] = "dogs"
    with pytest.raises(AssertionError, match="metadata says another claim.*make"):
        test_notebooks.test_claims(chapter)


def test_a_condition_that_measures_nothing(chapter):
    claimed = next(c for c in code(chapter) if "claim" in test_notebooks.tags(c))
    claimed.source = 'claim("Cats are dogs", True, "1")'
    with pytest.raises(AssertionError, match="a condition must be measured"):
        test_notebooks.test_claims(chapter)


def test_a_figure_of_another_cell(small, sound, chapter):
    other = test_notebooks.figures(chapter)[0].outputs[0].data["image/png"]
    cell(small, "draw").outputs[0].data["image/png"] = other
    [found] = differences(small, sound)
    assert "'draw' draws another figure than the stored one" in found
    assert "make notebooks" in found


def test_a_figure_that_is_gone(small, sound):
    del cell(small, "draw").outputs[0].data["image/png"]
    [found] = differences(small, sound)
    assert "'draw' draws another number of figures" in found


def test_every_figure_of_the_book_is_told_from_the_others():
    books = [nbformat.read(path, as_version=4) for path in test_notebooks.PATHS]
    pictures = [
        output.data["image/png"]
        for book in books
        for drawn in test_notebooks.figures(book)
        for output in drawn.outputs
        if "image/png" in output.get("data", {})
    ]
    for number, picture in enumerate(pictures):
        assert alike(picture, picture)
        for other in pictures[:number]:
            assert not alike(picture, other, ALIKE_ELSEWHERE)


def edited(png, change):
    picture = change(Image.open(io.BytesIO(b64decode(png))).convert("RGB"))
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return b64encode(buffer.getvalue()).decode()


def test_a_figure_of_other_versions_is_the_same(small):
    png = cell(small, "draw").outputs[0].data["image/png"]
    for change in (
        lambda picture: picture.filter(ImageFilter.GaussianBlur(2)),
        lambda picture: picture.resize((picture.width + 9, picture.height - 5)),
        lambda picture: picture.quantize(16),
    ):
        assert alike(png, edited(png, change), ALIKE_ELSEWHERE)


def test_a_figure_with_something_else_in_it_is_another(small):
    png = cell(small, "draw").outputs[0].data["image/png"]

    def bar(picture):
        left, top = picture.width // 2, picture.height // 3
        box = (left, top, left + picture.width // 8, picture.height - 40)
        ImageDraw.Draw(picture).rectangle(box, "black")
        return picture

    assert not alike(png, edited(png, bar), ALIKE_ELSEWHERE)


def test_outputs_stripped(chapter):
    for stripped in code(chapter):
        stripped.outputs, stripped.execution_count = [], None
    with pytest.raises(AssertionError, match="not run from top to bottom.*make"):
        test_notebooks.test_run_in_order(chapter)


def test_an_integer_in_prose(chapter):
    test_notebooks.markdown(chapter)[1].source += "\n\nIt failed in 23 of them."
    with pytest.raises(AssertionError, match="(?s)no output.*23"):
        test_notebooks.test_no_typed_number(chapter)


def test_an_alt_text_removed(chapter):
    test_notebooks.figures(chapter)[0].metadata.mystnb.image.alt = ""
    with pytest.raises(AssertionError, match="say in a sentence what is seen"):
        test_notebooks.test_figures(chapter)


def test_a_generator_without_a_seed(chapter):
    code(chapter)[1].source += "\nunused = np.random.default_rng().random()"
    with pytest.raises(AssertionError, match="(?s)give them a seed.*default_rng()"):
        test_notebooks.test_chance_is_seeded(chapter)


# What is found when the notebook runs again, which takes some seconds each.


@pytest.mark.parametrize(
    "name, old, new, message",
    [
        ("draw", "plt.show()", "np.random.rand(3)", "unseeded: .*draw.*numpy.random"),
        ("draw", "plt.show()", "import random; random.random()", "draw.*'random'"),
        ("draw", "plt.show()", "import torch; torch.rand(1)", "draw.*'torch'"),
        ("draw", "default_rng(0)", "default_rng(1)", "'draw' draws another figure"),
        ("draw", "plt.show()", "plt.text(0, 0, 'faint', c='y')", "draw: 'faint' has"),
        ("draw", "plt.show()", PEEK, "reads .'shape_bias.csv'., would carry"),
        ("claim-walk", "> 1", "< 1", "'claim-walk' raised ClaimFailed"),
        ("check-1", "(3,", "(4,", "check-1|check_1"),
        ("solution-1", "= 4", "= 3", "solution-1|check_1"),
        ("bootstrap", '"1"', '"2"', "not on one thread"),
    ],
)
def test_an_act_that_a_run_finds(small, folder, name, old, new, message):
    changed = cell(small, name)
    assert old in changed.source
    changed.source = changed.source.replace(old, new)
    if "torch" in new or name == "bootstrap":
        cell(small, "exercise-1").source += "\nimport torch"
    assert re.search(message, run_again(small, folder), re.S)


def test_what_arrives_in_pieces_is_one_output(tmp_path):
    pause = "import time\nprint('a', flush=True)\ntime.sleep(1)\nprint('b')"
    notebook = new_notebook(cells=[new_code_cell(pause)])
    assert execute(notebook, tmp_path) is None
    assert [output.text for output in notebook.cells[0].outputs] == ["a\nb\n"]
