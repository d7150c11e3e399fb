"""Pack everything for a room without a network: `python tools/workshop.py`.

It takes the pages that `make book` built, and makes the notebooks, the slides and what
is printed. The zip is the same, byte for byte, whenever it is made from the same files.
"""

import hashlib
import html
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from string import Template

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

import editions
import slides
import teach
import teaching_pages
from claims_table import opening_of

ROOT = teach.ROOT
PAGES = ROOT / "_build" / "html"
ZIP = ROOT / "_build" / "multilabel-workshop.zip"
NAME = "multilabel-workshop"  # the folder in the zip
PAGE = Template((ROOT / "tools" / "paper.html").read_text("utf-8"))


def formula(content, options):
    left, right = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
    return f"{left}{html.escape(content)}{right}"


MARKDOWN = (
    MarkdownIt("commonmark")
    .enable("table")
    .use(dollarmath_plugin, allow_labels=False, double_inline=True, renderer=formula)
)


def page(title, text, break_before="auto"):
    """A page to print from Markdown, for a folder beside that of the book."""
    return PAGE.substitute(
        title=html.escape(title),
        body=MARKDOWN.render(f"# {title}\n\n{text}"),
        break_before=break_before,
    )


def handout():
    """The short answers, with their tables."""
    parts = []
    for name in teach.CHAPTERS:
        notebook = teach.notebook_of(name)
        title, question = opening_of(notebook)
        _, answer, _ = editions.opening_parts(notebook.cells[0].source)
        parts += [f"## {title}", f"*{question}*", without_links(answer)]
    return "\n\n".join(parts)


def worksheets():
    """The texts that exercises in the room are about, as far as their last code."""
    parts = []
    for name in teach.CHAPTERS:
        cells = {cell.id: cell.source for cell in teach.notebook_of(name).cells}
        wanted = teach.notes_of(name).get("handout", [])
        texts = [cells[cell].rpartition("```")[0] + "```" for cell in wanted]
        parts += [without_links(text) for text in texts]
    return "\n\n".join([*parts, *["\\_" * 60] * 6])  # and lines to write on


def without_links(text):
    """Paper leads nowhere."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def all_plans():
    parts = []
    for row in teach.plans():
        parts += [f"## {row['minutes']} minutes", teaching_pages.plan(row["minutes"])]
    return without_links("\n\n".join(parts))


def questions(rows):
    pairs = enumerate(rows, 1)
    return "\n\n".join(teaching_pages.question(number, row) for number, row in pairs)


def keys(rows):
    in_short = " · ".join(
        f"{number} {teaching_pages.right_letter(row)}"
        for number, row in enumerate(rows, 1)
    )
    parts = [
        f"**{number}.** {row['question']}\n\n{teaching_pages.key(row)}"
        for number, row in enumerate(rows, 1)
    ]
    return "\n\n".join([f"**{in_short}**", *parts])


def quizzes(show):
    """The quiz of each chapter: its questions, or their keys."""
    parts = []
    for name in teach.CHAPTERS:
        title, _ = opening_of(teach.notebook_of(name))
        parts += [f"## {title}", show(teach.notes_of(name)["quiz"])]
    return "\n\n".join(parts)


def gather(pages, folder):
    """Put everything into a folder, with the pages that were built into `pages`."""
    ignore = shutil.ignore_patterns(".buildinfo*", "*.inv", "*.map", "downloads")
    shutil.copytree(pages, folder / "book", ignore=ignore)
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        editions.write_all(made)
        # The self-contained notebooks lie next to the pages already.
        shutil.move(made / "student", folder / "learners")
        (folder / "teacher").mkdir()
        shutil.move(made / "instructor", folder / "teacher" / "notebooks")
    slides.write(folder / "teacher" / "slides")

    shutil.copy(ROOT / "check_setup.py", folder / "learners")
    shutil.copy(ROOT / "requirements-learn.lock", folder / "learners")
    shutil.copy(ROOT / "teach" / "WORKSHOP.md", folder / "README.md")
    shutil.copy(ROOT / "teach" / "LEARNERS.md", folder / "learners" / "README.md")
    sets = teach.tests()
    of_tests = [f"## Test {name}\n\n{keys(rows)}" for name, rows in sets.items()]
    every_key = "\n\n".join([*of_tests, quizzes(keys)])
    room = "Name: ______________________\n\nOne answer is right.\n\n"
    for path, text in {
        "teacher/handout.html": page("The short answers", handout()),
        "teacher/worksheets.html": page("What would change the score?", worksheets()),
        "teacher/plans.html": page("Plans", all_plans(), "page"),
        "teacher/quiz.html": page("Quiz", quizzes(questions), "page"),
        "teacher/test_a.html": page("Test A", room + questions(sets["A"])),
        "teacher/test_b.html": page("Test B", room + questions(sets["B"])),
        "teacher/key.html": page("Answers", every_key),
    }.items():
        (folder / path).write_text(text, "utf-8", newline="\n")

    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"
        for name, path in files_in(folder)
    ]
    (folder / "SHA256SUMS").write_text("".join(sums), "utf-8", newline="\n")


def files_in(folder):
    """Pairs of a file's name from the folder on, and its path, in a fixed order."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return sorted((name, path) for name, path in paths.items() if path.is_file())


def pack(folder, to):
    """Write the zip beside its place and move it there when it is whole."""
    unfinished = to.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w") as zipped:
        for name, path in files_in(folder):
            editions.add(zipped, f"{NAME}/{name}", path.read_bytes())
    unfinished.replace(to)


def main():
    if not (PAGES / "index.html").exists():
        sys.exit("The pages are not built: run `make book` first.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / NAME
        folder.mkdir()
        gather(PAGES, folder)
        pack(folder, ZIP)
    print(f"Everything for a room, {ZIP.stat().st_size / 1e6:.1f} MB: {ZIP}")


if __name__ == "__main__":
    main()
