"""The exercises of a notebook, sealed: in the page and in a student's notebook.

The right answers and the hints stand in the check cells of `book/*.ipynb`, once. This
file runs those cells and makes of each what holds no answer that can be read off
(`helpers.exercises.Sealed`). It needs neither torch nor numpy.
"""

import ast
import contextlib
import html
import io
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from cells import code

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # for `helpers`, where only the book is built

from helpers.exercises import Exercise, masked  # noqa: E402

WIDTH = 88  # columns of code


@dataclass
class Task:
    """One exercise of a notebook.

    number: 1 for "Your turn 1".
    answer, check, solution: its three code cells.
    exercise: the check, as an `Exercise`.
    reason: the comment that the solution begins with, in one line.
    source: the solution's code, without title, reason and check.
    wanted: the comment behind `answer_1 = ...`, which says what to write.
    """

    number: int
    answer: nbformat.NotebookNode
    check: nbformat.NotebookNode
    solution: nbformat.NotebookNode
    exercise: Exercise
    reason: str
    source: str
    wanted: str


def exercises_of(notebook):
    """The exercises of a notebook (a node of nbformat), as a list of `Task`.

    Runs the check cells, each by itself, with an answer that is not given yet.
    """
    tasks, cells = [], code(notebook)
    for answer in cells:
        begin = re.search(r"^answer_(\d+) = \.\.\.(?:  # (.+))?$", answer.source, re.M)
        if not begin:
            continue
        number = int(begin[1])
        [check] = [c for c in cells if f"\ncheck_{number}(answer_" in c.source]
        [solution] = [c for c in cells if f"\ncheck_{number}(solution_" in c.source]
        names = {f"answer_{number}": ...}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(check.source, names)
        reason, source = taken_apart(solution.source)
        tasks.append(
            Task(
                number,
                answer,
                check,
                solution,
                names[f"check_{number}"],
                reason,
                source,
                begin[2] or "",
            )
        )
    return tasks


def taken_apart(solution):
    """A solution cell's reason (its first comment) and its code, without the check."""
    lines = solution.splitlines()[1:-1]  # without the title and the check
    comment = 0
    while lines[comment].startswith("# "):
        comment += 1
    reason = " ".join(line.removeprefix("# ") for line in lines[:comment])
    return reason, "\n".join(lines[comment:]).strip("\n")


def sealed_check(task, chapter):
    """The source of a check cell without answers, for the student's notebook.

    A check of code keeps the function that it calls the answer with (`of`), which must
    need nothing else of its cell. After "right." the check tells the reason.
    """
    number = task.number
    seal = task.exercise.sealed(chapter, task.reason)
    lines = [
        "# @title Check the answer",
        "from helpers.exercises import Sealed",
        "",
        'seal = """',
        *textwrap.wrap(seal, WIDTH),
        '"""',
    ]
    arguments = f'"Your turn {number}", seal'
    if task.exercise.of is not None:
        name, source = function_of(task.check.source)
        lines += ["", "", source, "", ""]
        arguments += f", of={name}"
    lines += [
        f"check_{number} = Sealed({arguments})",
        f"check_{number}(answer_{number})",
    ]
    return "\n".join(lines)


def function_of(check):
    """The function that a check cell passes as `of`: its name and its source."""
    tree = ast.parse(check)
    [name] = [
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "of"
    ]
    [function] = [node for node in tree.body if getattr(node, "name", None) == name]
    return name, ast.get_source_segment(check, function)


def in_page(notebook, chapter):
    """Change a notebook (a node of nbformat) so that its exercises answer in the page.

    The answer, check and solution cells of each exercise become one Markdown cell with
    a form, for book/_static/exercises.js. Where the answer is code, its cell stays, and
    a sentence takes the place of the other two.
    """
    for task in exercises_of(notebook):
        source = html_of(task, chapter)
        cells = {task.check.id: [], task.solution.id: []}
        if task.exercise.of is None:
            cells[task.answer.id] = [new_markdown_cell(source, id=task.answer.id)]
        else:
            cells[task.check.id] = [new_markdown_cell(source, id=task.check.id)]
        notebook.cells = [
            new for old in notebook.cells for new in cells.get(old.id, [old])
        ]


def html_of(task, chapter):
    """The HTML of an exercise in the page. It has no empty line: that would end it."""
    name = f"answer-{task.number}"
    return f"""\
<div class="exercise" id="{name}" role="group" aria-label="Your turn {task.number}"
  data-solution="{masked(solution_of(task), name)}">
{form_of(task, chapter, name) if task.exercise.of is None else ASKS_FOR_CODE}
<button type="button" aria-expanded="false" aria-controls="{name}-solution">
  Show the solution</button>
<div id="{name}-solution" hidden></div>
<noscript>To check an answer, this page needs JavaScript.
  The notebook has the same check.</noscript>
</div>"""


ASKS_FOR_CODE = (
    "<p>This exercise asks for code. Write it in the notebook, which checks it.</p>"
)


def form_of(task, chapter, name):
    """A field with its label, a button, and the place for what is said of it."""
    exercise, wanted = task.exercise, task.wanted
    if isinstance(exercise.right, str):
        wanted = wanted.replace('"', "")  # a field needs no quotes
    label = f"Your answer: <span>{html.escape(wanted)}</span>"
    return f"""\
<form>
<label for="{name}-field">{label if wanted else "Your answer"}</label>
<input type="text" id="{name}-field" autocomplete="off" autocorrect="off"
  autocapitalize="{"characters" if exercise.each else "off"}" spellcheck="false"
  data-seal="{exercise.sealed(chapter, task.reason)}">
<button type="submit">Check</button>
<output for="{name}-field"></output>
</form>"""


def solution_of(task):
    """The HTML of a solution: the reason, then the answer as it is written."""
    reason = f"<p>{html.escape(task.reason)}</p>"
    if isinstance(task.exercise.right, str):
        answer = ast.literal_eval(task.source.partition(" = ")[2])
        return f"{reason}<p>Answer: <code>{html.escape(answer)}</code></p>"
    return reason + highlight(task.source, PythonLexer(), HtmlFormatter())
