"""tools/notebooks.py: running, the normal form, the repository's address."""

import base64
import io
import re
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from PIL import Image, ImageChops

import notebooks

TOOLS = notebooks.ROOT / "tools"
DRAW = "import matplotlib.pyplot as plt\nfigure = plt.plot([1, 2])"


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of one notebook, in a folder of its own."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_config.yml").write_text('a: b\n    repository: ""  # why\nc: d\n')
    (tmp_path / "README.md").write_text(
        f"| [A](book/a.ipynb) | {notebooks.colab_link('a', '')} |\n"
        "[Open in Colab](elsewhere)\n"
    )
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "CONFIG", tmp_path / "_config.yml")
    monkeypatch.setattr(notebooks, "README", tmp_path / "README.md")

    def write(*sources):
        cells = [
            nbformat.v4.new_markdown_cell(
                f"# A\n\n{notebooks.colab_link('a', '')}", id="title"
            )
        ]
        cells.append(nbformat.v4.new_code_cell(notebooks.BOOTSTRAP, id="bootstrap"))
        cells += [
            nbformat.v4.new_code_cell(source, id=f"cell-{number}")
            for number, source in enumerate(sources)
        ]
        nbformat.write(
            nbformat.v4.new_notebook(cells=cells), tmp_path / "book" / "a.ipynb"
        )
        return tmp_path / "book" / "a.ipynb"

    return write


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["notebooks.py", *arguments])
    return notebooks.main()


def test_running_twice_gives_the_same_bytes(book):
    path = book(
        "import time\nprint('a', flush=True)\ntime.sleep(0.2)\nprint('b')", DRAW
    )
    assert notebooks.run([path]) == 0
    first = path.read_bytes()
    assert notebooks.run([path]) == 0
    assert path.read_bytes() == first
    notebook = nbformat.read(path, as_version=4)
    assert [cell.get("execution_count") for cell in notebook.cells] == [None, 1, 2, 3]
    assert [output.text for output in notebook.cells[2].outputs] == ["a\nb\n"]
    assert "image/png" in notebook.cells[3].outputs[-1].data
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert first.endswith(b"}\n") and b"iopub" not in first


def test_a_false_claim_stops_the_run_with_its_evidence(book, capsys):
    path = book("claim('Two is three', 2 == 3, 'two: 2; three: 3')", "print('never')")
    before = path.read_bytes()
    assert notebooks.run([path]) == 1
    said = capsys.readouterr().out
    assert "a.ipynb" in said and "cell-0" in said and "ClaimFailed" in said
    assert "Two is three" in said and "two: 2; three: 3" in said
    assert path.read_bytes() == before


SEED = "import os\nseed = int(os.environ['BOOK_SEED'])"
SMALL = "claim('The seed is small', seed < 2000, f'seed: {seed}')"
EVEN = "claim('The seed is even', seed % 2 == 0, f'seed: {seed}')"
BREAKS = "assert seed < 3000"
ANSWER = "print('Exercise 1:', 'right.' if seed < 3000 else 'not yet.')"


def with_tags(path, **tags):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.id.replace("-", "_") in tags:
            cell.metadata["tags"] = [tags[cell.id.replace("-", "_")]]
    nbformat.write(notebook, path)


def test_seeds_end_with_a_table(book, monkeypatch, capsys):
    path = book(SEED, SMALL, EVEN, BREAKS, ANSWER)
    with_tags(path, cell_1="claim", cell_2="claim", cell_4="solution")
    before = path.read_bytes()
    # At 2000 one claim fails and the run goes on; at 3001 something breaks.
    assert command(monkeypatch, "seeds", "1000", "2000", "3001") == 4
    said = capsys.readouterr().out
    assert re.findall(r"seed (\d+), a.ipynb: (all held|\d failed), \d+ s\n", said) == [
        ("1000", "all held"),
        ("2000", "1 failed"),
        ("3001", "3 failed"),
    ]
    assert re.findall(r"a: (cell-\d) +(\d/3)  (.*)\n", said) == [
        ("cell-1", "1/3", " .  X  X"),
        ("cell-2", "2/3", " .  .  X"),
        ("cell-4", "2/3", " .  .  -"),
    ]
    evidence = "The seed is small. This does not hold: seed: 2000\n"
    assert f"seed 2000, a: cell-1: {evidence}" in said
    assert "seed 3001, a: cell 'cell-3' raised AssertionError" in said
    assert "seeds: 1000, 2000, 3001\n" in said
    assert path.read_bytes() == before


def test_seeds_try_the_solutions(book, monkeypatch, capsys):
    path = book(SEED, ANSWER)
    with_tags(path, cell_1="solution")
    assert command(monkeypatch, "seeds", "1000", "3000") == 1
    said = capsys.readouterr().out
    assert "seed 3000, a: cell-1: Exercise 1: not yet." in said
    assert re.search(r"a: cell-1 +1/2   \.  X\n", said)


def test_seeds_can_be_drawn_and_drawn_again(capsys):
    drawn = notebooks.chosen_seeds([20], None)
    master = int(re.fullmatch(r"20 seeds, drawn from MASTER=(\d+)\n", said(capsys))[1])
    assert notebooks.chosen_seeds([20], master) == drawn
    assert notebooks.chosen_seeds([20], master + 1) != drawn
    assert len(set(drawn)) == 20
    assert all(seed >= 1000 and seed % 1000 == 0 for seed in drawn)
    assert notebooks.chosen_seeds([5000, 9000], None) == [5000, 9000]


def said(capsys):
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "firsts", [("0",), ("0", "1000"), ("999", "3000"), ("1000", "1500")]
)
def test_seeds_that_overlap_are_refused(monkeypatch, firsts):
    with pytest.raises(SystemExit, match="at least 1000 apart"):
        command(monkeypatch, "seeds", *firsts)


def test_an_edit_made_during_a_run_is_kept(book, capsys):
    edit = "from pathlib import Path\nPath('a.ipynb').write_text('edited')"
    path = book(edit)
    assert notebooks.run([path]) == 1
    assert path.read_text() == "edited"
    assert "left as it was: it was edited while it ran" in capsys.readouterr().out
    assert [file.name for file in path.parent.iterdir()] == ["a.ipynb"]


def test_check_says_what_differs(book, monkeypatch, capsys):
    path = book("print('one')")
    assert command(monkeypatch, "run") == 0
    assert command(monkeypatch, "check") == 0
    assert re.search(
        r"a.ipynb: as stored, in \d+ s\n1 passed, 0 failed\n", said(capsys)
    )
    path.write_text(path.read_text().replace("one\\n", "two\\n"))
    before = path.read_bytes()
    assert command(monkeypatch, "check", str(path)) == 1
    found = said(capsys)
    assert "cell 'cell-0' gives something else" in found and "-stdout: two" in found
    assert found.endswith("0 passed, 1 failed\n")
    assert path.read_bytes() == before


def test_two_notebooks_run_at_a_time_and_are_reported_in_order(monkeypatch, capsys):
    meet = threading.Barrier(2, timeout=20)

    def function(path):
        meet.wait()
        return path.stem, path.stem == "b"

    paths = [Path("b.ipynb"), Path("a.ipynb")]
    assert notebooks.report(paths, function, "{} and {}") == 1
    assert said(capsys) == "b.ipynb: b\na.ipynb: a\n1 and 1\n"


def test_normalise(book, monkeypatch, capsys):
    path = book("1")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["widgets"] = {"state": {}}
    notebook.cells[1].source = "REPO = 'an old cell'"
    notebook.cells[2].metadata["execution"] = {"iopub.status.busy": "2026"}
    notebook.cells[2].outputs = [
        nbformat.v4.new_output("stream", name=name, text=name)
        for name in ("stdout", "stdout", "stderr")
    ]
    nbformat.write(notebook, path)
    assert command(monkeypatch, "normalise", "--check") == 1
    assert capsys.readouterr().out == "a.ipynb: is not in its normal form\n"
    assert not command(monkeypatch, "normalise", str(path))
    assert not command(monkeypatch, "normalise", "--check")
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata and notebook.cells[2].metadata == {}
    assert notebook.cells[1].source == notebooks.BOOTSTRAP
    assert [output.text for output in notebook.cells[2].outputs] == [
        "stdoutstdout",
        "stderr",
    ]


def test_the_address_is_set_everywhere_and_can_change(book, monkeypatch):
    path = book("1")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="kept")]
    nbformat.write(notebook, path)
    for repo in ("owner/name", "owner/name", "An-Other/book.2"):
        assert not command(monkeypatch, "colab", repo)
        link = f"[Open in Colab](https://colab.research.google.com/github/{repo}/blob/{notebooks.TAG}/book/a.ipynb)"
        assert (
            notebooks.CONFIG.read_text()
            == f'a: b\n    repository: "{repo}"  # why\nc: d\n'
        )
        assert (
            notebooks.README.read_text()
            == f"| [A](book/a.ipynb) | {link} |\n[Open in Colab](elsewhere)\n"
        )
        notebook = nbformat.read(path, as_version=4)
        assert notebook.cells[0].source == f"# A\n\n{link}"
        assert f'\nREPO = "{repo}"\n' in notebook.cells[1].source
        assert notebook.cells[2].outputs[0].text == "kept"


@pytest.mark.parametrize(
    "repo",
    [
        "",
        "name",
        "owner/",
        "/name",
        "a/b/c",
        "https://github.com/owner/name",
        "owner/name.git",
        'a/b"',
        "a b/c",
        "a/..",
    ],
)
def test_bad_addresses_are_refused(book, monkeypatch, repo):
    book("1")
    before = notebooks.CONFIG.read_text()
    with pytest.raises(SystemExit, match="must read OWNER/NAME"):
        command(monkeypatch, "colab", repo)
    assert notebooks.CONFIG.read_text() == before


def test_a_missing_notebook_is_named(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        command(monkeypatch, "run", "book/nothing.ipynb")
    assert "there is no file book/nothing.ipynb" in capsys.readouterr().err


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 6, 15), (3, 10, 13)])
def test_an_old_python_is_told_in_one_sentence(version):
    path = str(TOOLS / "check_python.py")
    pretend = (
        f"import sys; sys.version_info = {version}; "
        f"exec(compile(open({path!r}).read(), 'check', 'exec'))"
    )
    checked = subprocess.run(
        [sys.executable, "-c", pretend], capture_output=True, text=True
    )
    assert (
        checked.returncode == 1
        and checked.stdout == ""
        and checked.stderr.count("\n") == 1
    )
    assert (
        f"this one is {version[0]}.{version[1]}:" in checked.stderr
        and "PYTHON=" in checked.stderr
    )


def test_this_python_is_new_enough():
    assert subprocess.run([sys.executable, TOOLS / "check_python.py"]).returncode == 0


def test_a_figure_gets_a_palette_once():
    greys = Image.linear_gradient("L").point(lambda grey: grey // 2 * 2)
    picture = greys.convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    stored = notebooks.fewer_colours(base64.b64encode(buffer.getvalue()).decode())
    small = Image.open(io.BytesIO(base64.b64decode(stored)))
    assert small.mode == "P" and small.size == picture.size
    assert (
        ImageChops.difference(small.convert("RGB"), picture).getextrema()
        == ((0, 0),) * 3
    )  # 128 greys fit the palette
    assert notebooks.fewer_colours(stored) == stored


@pytest.mark.parametrize(
    "what", ["step in chunks", "exact evaluation", "streaming evaluation"]
)
def test_what_is_measured_runs(what):
    measured = subprocess.run(
        [sys.executable, TOOLS / "measure_scale.py", what, "100"],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, megabytes = map(float, measured.stdout.split())
    assert seconds > 0 and megabytes >= 0
