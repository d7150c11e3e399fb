"""Plans and quizzes as Markdown, and a Sphinx extension with the directives for them.

`plan` shows one plan of teach/plans.toml, `quiz` the questions of every chapter. The
same Markdown makes the paper versions of a workshop: see tools/workshop.py.
"""

import re

from sphinx.util.docutils import SphinxDirective

import editions
import teach
from cells import caption_of, draws, tags
from claims_table import opening_of

LETTERS = "ABCD"


def plan(minutes):
    """A plan as a table: when, how long, what happens, which cells."""
    [chosen] = [row for row in teach.plans() if row["minutes"] == minutes]
    lines = [
        f"**{chosen['title']}**\n\n{chosen['room']}\n",
        "| minute | what happens | with |",
        "| ---: | --- | --- |",
    ]
    minute = 0
    for step in chosen["step"]:
        with_ = cells_of(step)
        after = minute + step["minutes"]
        lines.append(f"| {minute}–{after} | {step['does']} | {with_} |")
        minute = after
    return "\n".join(lines)


def cells_of(step):
    """The chapter of a step, and its cells as a reader finds them."""
    if "chapter" not in step:
        return ""
    notebook = teach.notebook_of(step["chapter"])
    names = [name_of(notebook, cell) for cell in step.get("cells", [])]
    slides = enumerate(teach.notes_of(step["chapter"])["slide"], 1)
    wanted = set(step.get("cells", []))
    names += [f"slide {n}" for n, row in slides if wanted & set(row.get("cells", []))]
    link = f"[{step['chapter']}]({step['chapter']}.ipynb)"
    return ": ".join([link, *([", ".join(dict.fromkeys(names))] if names else [])])


def name_of(notebook, name):
    """What a cell is called in the page: its heading, its exercise, its figure."""
    [cell] = [cell for cell in notebook.cells if cell.id == name]
    if heading := re.search(r"(?m)^#{2,} (.+)", cell.source):
        return f"“{heading[1]}”"
    if exercise := re.match(r"\*\*(Your turn \d+)", cell.source):
        return exercise[1]
    if draws(cell):
        title = editions.title_of_figure(cell.source)
        caption = caption_of(notebook, cell)
        return f"the figure “{title or re.split(r'[.:]', caption)[0]}”"
    if name == notebook.cells[0].id:
        return "the short answer"
    if "claim" in tags(cell):
        return "the claim " + f"“{cell.outputs[0].metadata['claim']['statement']}”"
    return f"cell `{name}`"


def quiz():
    """Every chapter's questions; the answers unfold."""
    parts = []
    for name in teach.CHAPTERS:
        parts.append(f"## {opening_of(teach.notebook_of(name))[0]}")
        rows = teach.notes_of(name)["quiz"]
        parts += [unfolding(number, row, name) for number, row in enumerate(rows, 1)]
    return "\n\n".join(parts)


def unfolding(number, row, name):
    return "\n\n".join(
        [
            question(number, row),
            f"<details><summary>Answer to question {number}</summary>",
            key(row),
            f"[The chapter shows it]({name}.ipynb).",
            "</details>",
        ]
    )


def question(number, row):
    """A question with its four options, as they stand on paper too."""
    choices = [
        f"- {letter}. {text}" for letter, (text, _) in zip(LETTERS, teach.options(row))
    ]
    return f"**{number}.** {row['question']}\n\n" + "\n".join(choices)


def right_letter(row):
    places = [shows for _, shows in teach.options(row)]
    return LETTERS[places.index(None)]


def key(row):
    """The right option with its reason, and what each wrong one shows."""
    lines = []
    for letter, (text, shows) in zip(LETTERS, teach.options(row)):
        verdict = f"wrong: {shows}" if shows else f"**right**: {row['why']}"
        lines.append(f"- {letter}. *{text}* · {verdict}")
    return "\n".join(lines)


class Plan(SphinxDirective):
    required_arguments = 1

    def run(self):
        return self.parse_text_to_nodes(plan(int(self.arguments[0])))


class Quiz(SphinxDirective):
    def run(self):
        return self.parse_text_to_nodes(quiz(), allow_section_headings=True)


def depend_on_notes(app, docname, source):
    """A page that shows what stands in teach/ is old when that has changed."""
    if re.search(r"(?m)^```\{(plan|quiz)\}", source[0]):
        for files in ("teach/*.toml", "book/*.ipynb", "tools/teach*.py"):
            for path in teach.ROOT.glob(files):
                app.env.note_dependency(str(path))


def setup(app):
    app.add_directive("plan", Plan)
    app.add_directive("quiz", Quiz)
    app.connect("source-read", depend_on_notes)
    return {"parallel_read_safe": True}
