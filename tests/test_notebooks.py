"""What must hold for every notebook of the book, as it is stored. (`make test` also runs them again, with nbval.)"""

import re

import nbformat
import notebooks
import pytest
from typed_numbers import MARKDOWN, typed_numbers

PATHS = sorted((notebooks.ROOT / "book").glob("*.ipynb"))
HEADINGS = ["Where it goes wrong", "Exercises", "What we measured"]
MACHINE_PATH = re.compile(
    r"(?<![\w.:/-])/(?:home|root|Users|usr|opt|tmp|var|mnt|private)/|[A-Z]:\\|(?:site|dist)-packages|ipykernel_\d|\.venv"
)
AUDIT = """
from helpers.exercises import Exercise

exercises = {name: value for name, value in list(globals().items()) if isinstance(value, Exercise)}
assert sorted(exercises) == [f"check_{number}" for number in range(1, 1 + EXERCISES)], sorted(exercises)
for name, exercise in exercises.items():
    assert exercise.hints, f"{name} has no hint"
    for nothing in (..., None):
        assert exercise.verdict(nothing) == "not answered yet.", (name, nothing, exercise.verdict(nothing))
    for wrong, hint in exercise.hints:
        assert exercise.verdict(wrong) == f"not yet. {hint}", (name, wrong, exercise.verdict(wrong))
    solution = globals()[name.replace("check", "solution")]
    assert exercise.verdict(solution) == "right.", (name, exercise.verdict(solution))
"""


@pytest.fixture(params=PATHS, ids=lambda path: path.name)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def tags(cell):
    return cell.metadata.get("tags", [])


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell.outputs]


def claims(notebook):
    return [
        output.metadata["claim"]
        for output in outputs(notebook)
        if "claim" in output.get("metadata", {})
    ]


def figures(notebook):
    return [
        cell
        for cell in code(notebook)
        if any("image/png" in output.get("data", {}) for output in cell.outputs)
    ]


def exercises(notebook):
    return [
        cell
        for cell in code(notebook)
        if re.search(r"^answer_\d+ = ", cell.source, re.M)
    ]


def output_texts(notebook):
    texts = [output.get("text", "") for output in outputs(notebook)]
    return texts + [
        text
        for output in outputs(notebook)
        for kind, text in output.get("data", {}).items()
        if kind in ("text/plain", "text/markdown")
    ]


def check_runs(notebook):
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1)), (
        f"not run from top to bottom: {counts}. Try `make notebooks`"
    )


def test_normal_form(path):
    assert path.read_text("utf-8") == notebooks.normal_form(path), (
        f"try `python tools/notebooks.py normalise {path.name}`"
    )


def test_run_in_order(notebook):
    check_runs(notebook)


def test_a_notebook_without_outputs_fails():
    # nbval passes it in silence.
    stripped = nbformat.read(PATHS[0], as_version=4)
    for cell in code(stripped):
        cell.outputs, cell.execution_count = [], None
    with pytest.raises(AssertionError, match="not run"):
        check_runs(stripped)


def test_ids(notebook):
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for name in ids:
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name), name
        assert not re.fullmatch(r"[0-9a-f]{8}(-.*)?", name), (
            f"{name} was made by chance: give it a name"
        )


def test_outputs_are_clean(notebook):
    for cell in code(notebook):
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", (
                cell.id,
                output,
            )


def test_no_machine_path(notebook):
    texts = [cell.source for cell in notebook.cells] + output_texts(notebook)
    texts += [
        text
        for output in outputs(notebook)
        for kind, text in output.get("data", {}).items()
        if kind == "text/html"
    ]
    for text in texts:
        assert not MACHINE_PATH.search(text) and str(notebooks.ROOT) not in text, text


def test_bootstrap(notebook):
    first = code(notebook)[0]
    assert first.id == "bootstrap"
    assert (
        first.source.replace(f'REPO = "{notebooks.repository()}"', 'REPO = ""')
        == notebooks.BOOTSTRAP
    )
    assert first.outputs == []
    assert "hide-input" in tags(first)


def test_hidden_cells_are_hidden_in_colab_too(notebook):
    """The tags hide a cell in the book; in Colab the metadata and the first line do."""
    hidden = [
        cell.id
        for cell in code(notebook)
        if "hide-input" in tags(cell) or "hide-cell" in tags(cell)
    ]
    assert [
        cell.id for cell in code(notebook) if cell.metadata.get("cellView") == "form"
    ] == hidden
    assert [
        cell.id for cell in code(notebook) if cell.source.startswith("# @title ")
    ] == hidden


def test_figures(notebook):
    assert len(figures(notebook)) >= 4
    for cell in figures(notebook):
        assert (
            len(
                [
                    output
                    for output in cell.outputs
                    if "image/png" in output.get("data", {})
                ]
            )
            == 1
        ), cell.id
        settings = cell.metadata.get("mystnb", {})
        caption = settings.get("figure", {}).get("caption", "")
        alt = settings.get("image", {}).get("alt", "")
        assert caption.strip(), f"{cell.id} has no caption"
        assert len(alt) >= 40 and alt.strip().endswith("."), (
            f"{cell.id}: say in a sentence what is seen, not {alt!r}"
        )
        assert alt != caption, cell.id
        assert settings["figure"].get("name", "").startswith("fig-"), (
            f"{cell.id} has no name that starts with fig-"
        )


def test_names_are_used_once_in_the_book():
    books = [nbformat.read(path, as_version=4) for path in PATHS]
    names = [
        cell.metadata["mystnb"]["figure"]["name"]
        for book in books
        for cell in figures(book)
    ]
    assert len(set(names)) == len(names), names
    statements = [claim["statement"] for book in books for claim in claims(book)]
    assert len(set(statements)) == len(statements), statements


def test_claims(notebook):
    assert len(claims(notebook)) >= 5
    for cell in code(notebook):
        claimed = any("claim" in output.get("metadata", {}) for output in cell.outputs)
        assert claimed == ("claim" in tags(cell)), cell.id
        assert not claimed or "hide-input" in tags(cell), cell.id


def test_anatomy(notebook):
    opening = notebook.cells[0].source
    assert opening.startswith("# ") and "?" in opening, (
        "a chapter opens with its title and a question"
    )
    before = "\n\n".join(
        cell.source
        for cell in notebook.cells[: notebook.cells.index(code(notebook)[0])]
    )
    assert "short answer" in before.lower()
    header = next(
        paragraph
        for paragraph in before.split("\n\n")
        if "[Open in Colab](" in paragraph
    )
    assert re.search(r"\b\d+ minutes?\b", header), f"how many minutes to read? {header}"
    assert re.search(r"\b\d+ (s|seconds?)\b", header), (
        f"how many whole seconds to run? {header}"
    )
    assert re.search(r"\b(know|need|before|prerequisites?)\b", header, re.I), (
        f"what must a reader know first? {header}"
    )
    tokens = [MARKDOWN.parse(cell.source) for cell in markdown(notebook)]
    titles = [
        (part[i].tag, part[i + 1].content)
        for part in tokens
        for i, token in enumerate(part)
        if token.type == "heading_open"
    ]
    assert [tag for tag, _ in titles].count("h1") == 1
    assert [title for tag, title in titles if tag == "h2"][-3:] == HEADINGS
    assert "claims_table()" in code(notebook)[-1].source


def test_exercises(notebook):
    count = len(exercises(notebook))
    assert 3 <= count <= 5
    sources = {cell.id: cell for cell in code(notebook)}
    solutions = [cell for cell in sources.values() if "solution" in tags(cell)]
    assert len(solutions) == count
    for number, (answer, solution) in enumerate(zip(exercises(notebook), solutions), 1):
        check = next(
            cell
            for cell in sources.values()
            if f"check_{number} = Exercise(" in cell.source
        )
        assert f"answer_{number} = ..." in answer.source and answer.outputs == [], (
            answer.id
        )
        assert (
            f"check_{number}(answer_{number})" in check.source
            and "hide-input" in tags(check)
        ), check.id
        assert said(check) == f"Exercise {number}: not answered yet.\n", check.id
        assert (
            f"solution_{number} =" in solution.source
            or f"def solution_{number}(" in solution.source
        ), solution.id
        assert solution.source.endswith(
            f"check_{number}(solution_{number})"
        ) and "hide-cell" in tags(solution), solution.id
        # Colab and GitHub show the output of a hidden cell: it must not give the answer away.
        assert said(solution) == f"Exercise {number}: right.\n", solution.id


def said(cell):
    assert [output.get("name") for output in cell.outputs] == ["stdout"], cell.id
    return cell.outputs[0].text


def test_every_hint_in_a_real_run(path):
    notebook = nbformat.read(path, as_version=4)
    source = AUDIT.replace("EXERCISES", str(len(exercises(notebook))))
    notebook.cells.append(nbformat.v4.new_code_cell(source, id="audit"))
    assert notebooks.execute(notebook, path.parent) is None


def test_no_typed_number(notebook):
    texts = {cell.id: cell.source for cell in markdown(notebook)}
    for cell in figures(notebook):
        texts[f"caption of {cell.id}"] = cell.metadata["mystnb"]["figure"]["caption"]
        texts[f"alt text of {cell.id}"] = cell.metadata["mystnb"]["image"]["alt"]
    found = {
        name: typed_numbers(text, output_texts(notebook))
        for name, text in texts.items()
    }
    assert {name: typed for name, typed in found.items() if typed} == {}


def test_plain_markdown(notebook):
    for cell in markdown(notebook):
        assert not not_plain(cell.source), cell.id


def not_plain(source):
    """What only some of the places that show a notebook would understand."""
    found = ["{{"] if "{{" in source else []
    for block in MARKDOWN.parse(source):
        children = block.children or []
        texts = [child.content for child in children if child.type == "text"]
        if block.type == "html_block" or any(
            child.type == "html_inline" for child in children
        ):
            found.append("HTML")
        if block.type == "fence" and block.info.startswith("{"):
            found.append("a directive")
        if block.type == "inline" and re.match(
            r":::|%|\+\+\+|\([\w-]+\)=$", block.content
        ):
            found.append(f"MyST: {block.content}")
        if any(
            re.search(r"\{[\w:-]+\}$", child.content) and after.type == "code_inline"
            for child, after in zip(children, children[1:])
        ):
            found.append("a role")
        if any("$" in text for text in texts):
            found.append("a dollar sign that opens no formula")
    return found


@pytest.mark.parametrize(
    "source",
    [
        ":::{note}\nA note.\n:::",
        "```{note}\nA note.\n```",
        "{doc}`setups`",
        "It has {{ count }} labels.",
        "It costs $5.",
        r"It costs \$5.",
        "From $5 to $10.",
        "$x + 1",
        "<b>bold</b>",
        "<div>\n</div>",
        "(target)=\n# Title",
        "% a comment",
        "+++",
        "$ x $",
    ],
)
def test_not_plain(source):
    assert not_plain(source)


@pytest.mark.parametrize(
    "source",
    [
        "# Title\n\nText with $x_1$, `{}`, and $$y = \\frac{1}{K}$$.",
        "| a | b |\n| --- | --- |\n| $K$ | `x` |",
        "```python\nf'{x}'\n```",
        "The set {1, 2} and `code`.",
        "$K$-way, $K$.",
        "$2K$, or $K/2$",
    ],
)
def test_plain(source):
    assert not not_plain(source)
