"""tools/notebooks.py: running, the normal form, the repository's address."""

import base64
import io
import subprocess
import sys

import nbformat
import notebooks
import pytest
from PIL import Image, ImageChops

TOOLS = notebooks.ROOT / "tools"
DRAW = "import matplotlib.pyplot as plt\nfigure = plt.plot([1, 2])"


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of one notebook, in a folder of its own."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_config.yml").write_text('a: b\n    repository: ""  # why\nc: d\n')
    (tmp_path / "README.md").write_text(
        f"| [A](book/a.ipynb) | {notebooks.colab_link('a', '')} |\n[Open in Colab](elsewhere)\n"
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


def test_seeds(book, monkeypatch, capsys):
    path = book(
        "import os\nseed = int(os.environ['BOOK_SEED'])\nclaim('The seed is small', seed < 2000, f'seed: {seed}')"
    )
    before = path.read_bytes()
    assert command(monkeypatch, "seeds", "1000", "2000") == 1
    said = capsys.readouterr().out
    assert "seed 1000, a.ipynb: every claim holds\n" in said
    assert (
        "seed 2000, a.ipynb: cell 'cell-0' raised ClaimFailed: The seed is small. This does not hold: seed: 2000"
        in said
    )
    assert path.read_bytes() == before


def test_seeds_run_the_solutions(book, monkeypatch, capsys):
    path = book("print('Exercise 1: not yet.')")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].metadata["tags"] = ["solution"]
    nbformat.write(notebook, path)
    assert command(monkeypatch, "seeds", "1000") == 1
    assert "cell-0" in capsys.readouterr().out


@pytest.mark.parametrize("firsts", [("0",), ("999",), ("1000", "1500")])
def test_seeds_that_overlap_are_refused(monkeypatch, firsts):
    with pytest.raises(SystemExit, match="at least 1000 apart"):
        command(monkeypatch, "seeds", *firsts)


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
    pretend = f"import sys; sys.version_info = {version}; exec(compile(open({path!r}).read(), 'check', 'exec'))"
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
    picture = Image.linear_gradient("L").convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    stored = notebooks.fewer_colours(base64.b64encode(buffer.getvalue()).decode())
    small = Image.open(io.BytesIO(base64.b64decode(stored)))
    assert small.mode == "P" and small.size == picture.size
    assert (
        ImageChops.difference(small.convert("RGB"), picture).getextrema()
        == ((0, 0),) * 3
    )  # 256 greys fit the palette
    assert notebooks.fewer_colours(stored) == stored


def test_an_animation_keeps_its_frames():
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "green")]
    frames[0].save(buffer, "png", save_all=True, append_images=frames[1:])
    stored = base64.b64encode(buffer.getvalue()).decode()
    assert notebooks.fewer_colours(stored) == stored
