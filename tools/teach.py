"""What a teacher needs: teach/NAME.toml beside each chapter, plans and tests for a day.

`python tools/teach.py [NAME ...]` says what is wrong with these files. The tools that
make notebooks, slides and quiz pages read them through this module. CONTRIBUTING.md
says what stands in which table.
"""

import hashlib
import re
import sys
import tomllib
from pathlib import Path

import nbformat

from cells import draws, is_exercise, tags

ROOT = Path(__file__).resolve().parent.parent
# In the order of the book.
CHAPTERS = [
    name
    for name in re.findall(r"file: book/(\w+)", (ROOT / "_toc.yml").read_text("utf-8"))
    if (ROOT / "book" / f"{name}.ipynb").exists()
]
# Each table: its keys, those that may be left out, and how many there are of it.
TABLES = {
    "section": ({"cell", "minutes", "note"}, set(), (3, 12)),
    "misconception": ({"cell", "answer", "thinks", "respond"}, set(), (4, 9)),
    "later": ({"topic", "why"}, set(), (2, 4)),
    "predict": ({"cell", "question"}, set(), (3, 5)),
    "look": ({"cell", "question"}, set(), (1, 12)),
    "slide": ({"title", "notes"}, {"ask", "text", "cells"}, (12, 18)),
    "quiz": ({"cell", "question", "right", "why", "wrong"}, set(), (5, 5)),
}
LENGTHS = {"title": 60, "look": 45}  # characters
MINUTES = 35, 45  # to teach one chapter
WORDS_ON_A_SLIDE = 40
CELLS_ON_A_SLIDE = 2


def notebook_of(name):
    return nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4)


def read(name):
    """teach/NAME.toml as a dict, and what is wrong with it: a list of sentences."""
    notes = toml(name)
    return notes, faults(notes, notebook_of(name))


def notes_of(name):
    """teach/NAME.toml as a dict. Raises ValueError, saying what is wrong with it."""
    notes, wrong = read(name)
    if wrong:
        raise ValueError(f"teach/{name}.toml: " + "; ".join(wrong))
    return notes


def faults(notes, notebook):
    """What is wrong with a chapter's notes: a list of sentences."""
    found = []
    cells = {cell.id: cell for cell in notebook.cells}
    if len(notes.get("outcomes", [])) != 3:
        found.append("outcomes must be three")
    handed_out = notes.get("handout", [])  # cells whose text is printed
    found += [f"handout: no cell {cell!r}" for cell in handed_out if cell not in cells]
    if unknown := set(notes) - {"outcomes", "handout", *TABLES}:
        found.append(f"unknown: {sorted(unknown)}")
    for table, (needed, free, (least, most)) in TABLES.items():
        rows = notes.get(table, [])
        if not least <= len(rows) <= most:
            found.append(f"{len(rows)} times {table}, not {least} to {most}")
        for number, row in enumerate(rows, 1):
            where = f"{table} {number}"
            if missing := needed - set(row):
                found.append(f"{where} has no {sorted(missing)}")
            if unknown := set(row) - needed - free:
                found.append(f"{where} has {sorted(unknown)}, which nothing reads")
            named = [*row.get("cells", []), *([row["cell"]] if "cell" in row else [])]
            found += [
                f"{where}: no cell {cell!r}" for cell in named if cell not in cells
            ]
            texts = [row.get(key, "") for key in needed | free]
            texts += [text for wrong in row.get("wrong", []) for text in wrong.values()]
            if any(
                isinstance(text, str) and re.search("<[a-z/]", text) for text in texts
            ):
                found.append(f"{where} has HTML")
    if found:
        return found  # the rest would trip over it
    return [
        *faults_of_sections(notes, notebook),
        *faults_of_slides(notes, cells),
        *faults_of_questions(notes, cells),
        *(fault for row in notes["quiz"] for fault in faults_of_quiz(row)),
    ]


def faults_of_sections(notes, notebook):
    found = []
    headings = [notebook.cells[0].id] + [
        cell.id
        for cell in notebook.cells
        if cell.cell_type == "markdown" and re.search(r"(?m)^## ", cell.source)
    ]
    begun = [row["cell"] for row in notes["section"]]
    order = [cell.id for cell in notebook.cells]
    if missing := [cell for cell in headings if cell not in begun]:
        found.append(f"no section begins at {missing}")
    if begun != sorted(begun, key=order.index):
        found.append("the sections are not in the order of the chapter")
    total = sum(row["minutes"] for row in notes["section"])
    if not MINUTES[0] <= total <= MINUTES[1]:
        found.append(f"{total} minutes, not {MINUTES[0]} to {MINUTES[1]}")
    return found


def faults_of_slides(notes, cells):
    found = []
    for number, row in enumerate(notes["slide"], 1):
        where = f"slide {number}"
        if len(row["title"]) > LENGTHS["title"]:
            found.append(f"{where}: its title has {len(row['title'])} characters")
        if (words := len(row.get("text", "").split())) > WORDS_ON_A_SLIDE:
            found.append(f"{where}: its text has {words} words")
        if len(row.get("cells", [])) > CELLS_ON_A_SLIDE:
            found.append(f"{where}: more than {CELLS_ON_A_SLIDE} cells")
        for name in row.get("cells", []):
            if cells[name].cell_type == "markdown" and not is_exercise(cells[name]):
                found.append(f"{where}: {name} is text; slides say it in fewer words")
    return found


def faults_of_questions(notes, cells):
    found = []
    figures = [name for name, cell in cells.items() if draws(cell)]
    looked_at = [row["cell"] for row in notes["look"]]
    if sorted(looked_at) != sorted(figures):
        odd = sorted(set(figures) ^ set(looked_at)) or "one of them twice"
        found.append(f"each figure has one look: {odd}")
    for row in notes["look"]:
        question = row["question"]
        if len(question) > LENGTHS["look"] or not question.endswith("?"):
            found.append(f"look at {row['cell']}: a short question, not {question!r}")
    for row in notes["predict"]:
        cell = cells[row["cell"]]
        if cell.cell_type != "code" or "hide-cell" in tags(cell):
            found.append(f"predict {row['cell']}: it is no cell that learners run")
    return found


def faults_of_quiz(row):
    """What is wrong with one question of a quiz or a test."""
    found = []
    about = row["question"][:30]
    if len(row["wrong"]) != 3:
        found.append(f"{about!r} has {len(row['wrong'])} wrong options, not three")
    if any(set(wrong) != {"option", "shows"} for wrong in row["wrong"]):
        found.append(f"{about!r}: a wrong option needs `option` and `shows` alone")
        return found
    options = [row["right"], *(wrong["option"] for wrong in row["wrong"])]
    if len(set(options)) != len(options):
        found.append(f"{about!r} has an option twice")
    return found


def options(row):
    """A question's options: pairs (text, what it shows, or None for the right one).

    Their order looks random and is the same in every build.
    """
    pairs = [(row["right"], None)]
    pairs += [(wrong["option"], wrong["shows"]) for wrong in row["wrong"]]

    def place(pair):
        return hashlib.sha256(f"{row['question']} {pair[0]}".encode()).digest()

    return sorted(pairs, key=place)


def toml(name):
    return tomllib.loads((ROOT / "teach" / f"{name}.toml").read_text("utf-8"))


def plans():
    """The plans of teach/plans.toml: dicts with minutes, title, room and steps."""
    return toml("plans")["plan"]


def tests():
    """The two parallel sets of teach/tests.toml: {"A": questions, "B": questions}."""
    rows = toml("tests")["question"]
    return {name: [row for row in rows if row["set"] == name] for name in "AB"}


def faults_of_plans():
    found = []
    if [row["minutes"] for row in plans()] != [45, 90, 180]:
        found.append("the plans are not for 45, 90 and 180 minutes")
    for row in plans():
        where = f"the plan of {row['minutes']} minutes"
        if (total := sum(step["minutes"] for step in row["step"])) != row["minutes"]:
            found.append(f"{where} takes {total}")
        for step in row["step"]:
            found += [f"{where}: {fault}" for fault in unknown_cells(step)]
    return found


def unknown_cells(row):
    """The cells that a row names and its chapter does not have: a list of sentences."""
    names = [*row.get("cells", []), *([row["cell"]] if "cell" in row else [])]
    if not names:
        return []
    if row.get("chapter") not in CHAPTERS:
        return [f"no chapter {row.get('chapter')!r}"]
    known = {cell.id for cell in notebook_of(row["chapter"]).cells}
    return [
        f"{row['chapter']} has no cell {name!r}" for name in names if name not in known
    ]


def faults_of_tests():
    sets = tests()
    ideas = {name: [row["idea"] for row in rows] for name, rows in sets.items()}
    found = []
    if ideas["A"] != ideas["B"] or len(ideas["A"]) != 5:
        found.append("the sets A and B do not ask for the same five ideas")
    for row in [*sets["A"], *sets["B"]]:
        found += [*faults_of_quiz(row), *unknown_cells(row)]
    return found


def main():
    names = sys.argv[1:] or CHAPTERS
    failed = 0
    for name in names:
        _, wrong = read(name)
        print(f"teach/{name}.toml:", "\n  ".join(wrong) or "fine")
        failed += bool(wrong)
    if not sys.argv[1:]:
        wrong = [*faults_of_plans(), *faults_of_tests()]
        print("plans and tests:", "\n  ".join(wrong) or "fine")
        failed += bool(wrong)
    return failed


if __name__ == "__main__":
    sys.exit(main())
