"""Every edition of a chapter, from book/NAME.ipynb and teach/NAME.toml.

`python tools/editions.py FOLDER` writes three notebooks for each chapter into FOLDER:

self-contained/NAME.ipynb: the book's notebook, whose first cell carries `helpers` and
    the data that this chapter reads. It runs wherever it lies.
student/NAME.ipynb: the same without outputs, solutions and answers, with predictions
    to fill in and figures whose titles ask.
instructor/NAME.ipynb: the same with outputs and solutions, and with notes.

It needs nbformat and pygments, and nothing that the notebooks import.
"""

import ast
import base64
import io
import re
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell

import answers
import teach
from cells import code, tags

ROOT = Path(__file__).resolve().parent.parent
HELPERS = ROOT / "helpers"
# The link that runs a chapter, in its opening: tools/notebooks.py writes it.
LINK = re.compile(r"\[(?:Open in Colab|How to run it)\]\([^)]*\)")
# A link to a page or a file of the book: a notebook that lies elsewhere has neither.
PAGE_LINK = re.compile(r"\[([^\]]*)\]\((?:\w+\.md|_static/)[^)]*\)")
COLUMNS = 1000  # of the lines in which the first cell carries its archive
DATE = (1980, 1, 1, 0, 0, 0)  # of every file in it: the same archive each time


# What a chapter reads


@cache
def syntax(path):
    return ast.parse(path.read_text("utf-8"))


def code_of(notebook):
    return ast.parse("\n".join(cell.source for cell in code(notebook)))


@cache
def imports(tree):
    """Pairs of a module and a name in it, or None: all that a piece of code imports."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.module, alias.name) for alias in node.names]
    return found


def used_helpers(notebook):
    """What a chapter uses of `helpers`, as pieces of syntax: followed from its cells.

    Returns {module: [definitions]}; of a module that is imported, all that is no
    function and no class runs.
    """
    used, to_follow = {}, [(None, code_of(notebook))]
    while to_follow:
        module, piece = to_follow.pop()
        names = {node.id for node in ast.walk(piece) if isinstance(node, ast.Name)}
        names |= attributes(piece)
        reached = [(module, name) for name in names] if module else []
        for of, name in imports(syntax(HELPERS / f"{module}.py") if module else piece):
            if of == "helpers" and name:  # a module: take what is named as in it
                reached += [(name, None), *((name, other) for other in names)]
            elif of.startswith("helpers."):
                of = of.removeprefix("helpers.")
                reached += [(of, None), *([(of, name)] if name in names else [])]
        for of, name in reached:
            for part in syntax(HELPERS / f"{of}.py").body:
                runs = not isinstance(part, ast.FunctionDef | ast.ClassDef)
                wanted = runs if name is None else getattr(part, "name", None) == name
                if wanted and part not in used.setdefault(of, []):
                    used[of].append(part)
                    to_follow.append((of, part))
    return used


def strings(tree):
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def attributes(tree):
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def data_of(notebook):
    """The names of the files in helpers/data that a chapter reads."""
    parts = [part for parts in used_helpers(notebook).values() for part in parts]
    found = {text for part in parts for text in strings(part)}
    return sorted(
        path.name
        for path in (HELPERS / "data").iterdir()
        if f"data/{path.name}" in found
    )


def needs_of(notebook):
    """{module: requirement}: what a chapter and what it uses of `helpers` import."""
    trees = [code_of(notebook)]
    trees += [syntax(HELPERS / f"{module}.py") for module in used_helpers(notebook)]
    modules = {of.split(".")[0] for tree in trees for of, _ in imports(tree)}
    # The package of weights is no module: its folder is looked for by name.
    modules |= {text for tree in trees for text in strings(tree) if text.isidentifier()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needs = {}
    for requirement in project["dependencies"]:
        module = module_of(re.match(r"[\w-]+", requirement)[0])
        if module in modules:
            needs[module] = requirement
    return needs


def module_of(package):
    other = {"pillow": "PIL", "scikit-image": "skimage", "scikit-learn": "sklearn"}
    return other.get(package, package.replace("-", "_"))


# The first cell


def archive(notebook):
    """`helpers` with the data that a chapter reads, as the bytes of a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for path in sorted(HELPERS.glob("*.py")):
            add(zipped, f"helpers/{path.name}", path.read_bytes())
        add(
            zipped,
            "helpers/data/SOURCES.md",
            (HELPERS / "data/SOURCES.md").read_bytes(),
        )
        add(zipped, "helpers/LICENSE", (ROOT / "LICENSE").read_bytes())
        for name in data_of(notebook):
            content = (HELPERS / "data" / name).read_bytes()
            if name.endswith(".npz"):
                tree = code_of(notebook)
                content = without_unread(content, strings(tree) | attributes(tree))
            add(zipped, f"helpers/data/{name}", content)
    return buffer.getvalue()


def add(zipped, name, content, compression=zipfile.ZIP_DEFLATED):
    entry = zipfile.ZipInfo(name, DATE)
    entry.compress_type = compression
    entry.external_attr = 0o644 << 16
    zipped.writestr(entry, content)


def without_unread(npz, read):
    """An archive of arrays without what a chapter does not read.

    read: a set of words. An array of a group ("stage 5/low") stays where the group is
    among them, the probabilities where "probabilities" is, every other array always.
    """
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(npz)) as before,
        zipfile.ZipFile(buffer, "w") as after,
    ):
        for name in before.namelist():
            group = name.rpartition("/")[0]
            if name == "root_probabilities.npy":
                group = "probabilities"
            if not group or group in read:
                add(after, name, before.read(name), zipfile.ZIP_LZMA)
    return buffer.getvalue()


@cache
def carried(name):
    """What the first cell of a chapter's editions carries: its archive, its needs."""
    notebook = teach.notebook_of(name)
    text = base64.b85encode(archive(notebook)).decode()
    lines = [text[start : start + COLUMNS] for start in range(0, len(text), COLUMNS)]
    return "\n".join(lines), needs_of(notebook)


def embed(edition, name):
    """Let the first code cell of an edition carry what the chapter needs."""
    lines, needs = carried(name)
    first = next(cell for cell in edition.cells if cell.id == "bootstrap")
    for before, after in (
        ('EMBEDDED = ""', f'EMBEDDED = """\n{lines}\n"""'),
        ("NEEDS = {}", f"NEEDS = {needs!r}"),
    ):
        if before not in first.source:
            raise ValueError(f"the first cell has no line {before!r}")
        first.source = first.source.replace(before, after, 1)


# The notebooks


def self_contained(name):
    """The book's notebook of a chapter, with `helpers` in its first cell."""
    edition = teach.notebook_of(name)
    opening = edition.cells[0]
    opening.source = LINK.sub("run the cell below, then the others", opening.source)
    for cell in edition.cells:
        if cell.cell_type == "markdown":
            cell.source = PAGE_LINK.sub(r"\1", cell.source)
    embed(edition, name)
    return edition


def student(name):
    """The notebook that learners work in: no output, no solution, no answer."""
    edition, notes = self_contained(name), teach.notes_of(name)
    edition.cells[0].source = without_answer(edition.cells[0].source)
    questions = {row["cell"]: row["question"] for row in notes["look"]}
    predictions = {row["cell"]: row["question"] for row in notes["predict"]}
    exercises = {part.check.id: part for part in answers.exercises_of(edition)}
    cells = []
    for cell in edition.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if "solution" in tags(cell):
            continue
        if cell.id in exercises:
            cell.source = answers.sealed_check(exercises[cell.id], name)
        if cell.id in predictions:
            cells.append(to_fill_in(cell, "prediction", predictions[cell.id]))
        cells.append(cell)
        if cell.id in questions:
            cell.source = with_title(cell.source, questions[cell.id])
            cell.metadata["mystnb"].pop("image")  # the alt text says what is seen
            cells.append(to_fill_in(cell, "look", questions[cell.id]))
    edition.cells = cells
    return edition


def without_answer(source):
    """The opening of a chapter without its short answer: learners find it."""
    before, _, after = opening_parts(source)
    return (
        f"{before}*You will find the answer here; the book has it in short.*\n\n{after}"
    )


def opening_parts(source):
    """The opening of a chapter: before its short answer, this, and the header below."""
    before, title, rest = source.partition("**The short answer.**")
    answer, header, after = rest.partition("| you need |")
    if not header:
        raise ValueError("the opening has no short answer with a header below it")
    return before, title + answer, header + after


def to_fill_in(cell, kind, question):
    """A cell with a question and room for a learner's sentence."""
    title = {"prediction": "Before you run the next cell", "look": "Your sentence"}[
        kind
    ]
    return new_markdown_cell(
        f"**{title}.** {question}\n\n*Write here:*",
        id=f"{cell.id}-{kind}",
        metadata={"tags": [kind]},
    )


def title_in(source):
    """The title in a figure's code, as syntax: the second argument of `style.finish`.

    Where that is a name, what the name stands for.
    """
    tree = ast.parse(source)
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "style.finish"
    ]
    if len(calls) != 1 or len(calls[0].args) < 2:
        raise ValueError(f"no call style.finish(axes, title) in\n{source}")
    title = calls[0].args[1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets) == ast.unparse(
            title
        ):
            return node.value
    return title


def title_of_figure(source):
    """The title that a figure's code gives it, or None where it is computed."""
    return getattr(title_in(source), "value", None)


def with_title(source, title):
    """A figure's code with another title."""
    old = title_in(source)
    lines = source.split("\n")
    start, end = old.lineno - 1, old.end_lineno - 1
    # Columns of the syntax tree count bytes.
    before = lines[start].encode()[: old.col_offset].decode()
    after = lines[end].encode()[old.end_col_offset :].decode()
    lines[start : end + 1] = [f"{before}{title!r}{after}"]
    return "\n".join(lines)


def instructor(name):
    """The notebook for the teacher: outputs, solutions, notes and minutes."""
    edition, notes = self_contained(name), teach.notes_of(name)
    said = notes_by_cell(notes)
    cells = []
    for cell in edition.cells:
        if "solution" in tags(cell):
            cell.metadata.pop("cellView", None)
            cell.metadata.pop("jupyter", None)
        cells.append(cell)
        for number, text in enumerate(said.pop(cell.id, []), 1):
            cells.append(
                new_markdown_cell(
                    text,
                    id=f"{cell.id}-teacher-{number}",
                    metadata={"tags": ["teacher"]},
                )
            )
    edition.cells = cells
    return edition


def notes_by_cell(notes):
    """{cell id: [Markdown of a note that stands after it]}."""
    said = {}

    def say(cell, heading, *lines):
        quoted = [f"**For the teacher: {heading}**", *lines]
        text = "\n".join(f"> {line}".rstrip() for line in quoted)
        said.setdefault(cell, []).append(text)

    say(
        notes["section"][0]["cell"],
        f"{sum(row['minutes'] for row in notes['section'])} minutes in all.",
        "This notebook shows the answers: keep it off the projector.",
        "Afterwards, a learner can",
        "",
        *(f"- {outcome}" for outcome in notes["outcomes"]),
        "",
        "Do not explain yet:",
        "",
        *(f"- {row['topic']}: {row['why']}" for row in notes["later"]),
    )
    for row in notes["section"]:
        minutes = f"{row['minutes']} minute{'s' * (row['minutes'] != 1)}."
        say(row["cell"], minutes, row["note"])
    for row in notes["predict"]:
        say(row["cell"], "learners are asked before it:", row["question"])
    for row in notes["look"]:
        say(row["cell"], "the title in their notebook asks:", row["question"])
    for row in notes["misconception"]:
        say(
            row["cell"],
            "you may hear",
            f"“{row['answer']}”",
            "",
            f"Behind it: {row['thinks']}",
            f"*Respond:* {row['respond']}",
        )
    return said


EDITIONS = {
    "self-contained": self_contained,
    "student": student,
    "instructor": instructor,
}


def text_of(notebook):
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def write_all(folder):
    for edition, make in EDITIONS.items():
        (folder / edition).mkdir(parents=True, exist_ok=True)
        for name in teach.CHAPTERS:
            path = folder / edition / f"{name}.ipynb"
            path.write_text(text_of(make(name)), "utf-8", newline="\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write_all(Path(sys.argv[1]))
