"""The slides of the chapters, made of their cells by the plans in teach/NAME.toml.

`python tools/slides.py FOLDER` writes FOLDER/NAME.html for each chapter, and beside
them reveal.js and MathJax: the slides ask no other host for anything. nbconvert makes
the pages with the template in tools/slides/: index.html.j2 is the page, and conf.json
says which template of nbconvert's own it builds on.
"""

import base64
import re
import shutil
import struct
import sys
from pathlib import Path

import yaml
from nbconvert.exporters import SlidesExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pygments.formatters import HtmlFormatter

import answers
from cells import caption_of, draws, is_exercise, tags
from claims_table import opening_of
from teach import CHAPTERS, ROOT, notebook_of, notes_of

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
LONG = 400  # characters of an exercise that is set in smaller letters
BESIDE = {"reveal": "tools/slides/reveal", "mathjax": "book/_static/mathjax"}


def write(folder):
    """Write the slides of all chapters into a folder, with all that they load."""
    for name, source in BESIDE.items():
        shutil.copytree(ROOT / source, folder / name, dirs_exist_ok=True)
    for name in CHAPTERS:
        page = deck(notebook_of(name), notes_of(name))
        (folder / f"{name}.html").write_text(page, "utf-8", newline="\n")


def deck(notebook, notes):
    """The slides of a chapter as a page. It needs what `BESIDE` names in its folder.

    notebook: the chapter. notes: its teach/NAME.toml as a dict.
    """
    cells = [cell for row in notes["slide"] for cell in slide(notebook, row)]
    first = cells[0]
    title = notes["slide"][0]["title"].replace("-", "\u2011")  # breaks at spaces only
    first.source = f"{CONFIG['title']}\n\n# {title}"
    first.metadata.slideshow.data = {"kind": "title"}
    for number, cell in enumerate(cells):
        cell.id = str(number)  # the same in every build
    exporter = SlidesExporter(
        template_name="slides",
        extra_template_basedirs=[str(ROOT / "tools")],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    # Formulas as in the book; nbconvert leaves the dollars to MathJax.
    mathjax = CONFIG["sphinx"]["config"]["mathjax3_config"]
    highlighting = HtmlFormatter(style="a11y-high-contrast-light")  # as in the book
    metadata = {
        "language_info": notebook.metadata.language_info,
        "title": opening_of(notebook)[0],
        "mathjax": {**mathjax, "tex": {"inlineMath": [["$", "$"]]}},
        "highlighting": highlighting.get_style_defs(".highlight"),
    }
    page, _ = exporter.from_notebook_node(new_notebook(cells=cells, metadata=metadata))
    return page


def slide(notebook, row):
    """The cells of one slide: title, question, notes, and what the next step shows."""
    below = [markdown(row["text"])] if "text" in row else []
    for name in row.get("cells", []):
        below += shown(notebook, name)
    title = markdown(f"## {row['title']}", step="slide")
    title.metadata.slideshow.data = {"kind": kind(below)}
    ask = [markdown(row["ask"], tag="ask")] if "ask" in row else []
    if ask and below:
        below[0].metadata.slideshow.slide_type = "fragment"
    return [title, *ask, markdown(row["notes"], step="notes"), *below]


def kind(cells):
    """How a slide is laid out: as "text", or around a "figure" or a "tall" one."""
    for cell in cells:
        if "figure" in tags(cell):
            png = base64.b64decode(cell.outputs[0].data["image/png"])
            width, height = struct.unpack(">II", png[16:24])
            return "tall" if height > 0.9 * width else "figure"
    return "text"


def shown(notebook, name):
    """What slides show of a cell: an exercise, a figure, a claim, or code."""
    cells = {cell.id: cell for cell in notebook.cells}
    cell = cells[name]
    if is_exercise(cell):
        solution = cells[name.replace("your-turn", "solution")]
        length = "long" if len(cell.source) > LONG else "exercise"
        return [markdown(cell.source, tag=length), *answer(solution)]
    if draws(cell):
        figure = code("", cell.outputs, tag="figure", mystnb=cell.metadata.mystnb)
        return [figure, markdown(caption_of(notebook, cell), tag="caption")]
    if "claim" in tags(cell):
        claim = cell.outputs[0].metadata.claim
        return [markdown(f"{claim.statement}.\n\n{claim.evidence}.", tag="claim")]
    source = "" if "hide-input" in tags(cell) else cell.source
    return [code(source, cell.outputs)]


def answer(solution):
    """The solution of an exercise, one step later: its reason, and what is right."""
    reason, right = answers.taken_apart(solution.source)
    right = re.sub(r"(?m)^solution_\d = ", "", right)
    reason = markdown(reason, step="fragment")
    reason.metadata.slideshow.data = {"kind": "answer"}
    return [reason, code(right, [])]


def markdown(text, step="-", tag="text"):
    text = text.replace(" %", "\u00a0%")  # on one line with its number
    cell = new_markdown_cell(text, metadata={"slideshow": {"slide_type": step}})
    cell.metadata.tags = [tag]
    return cell


def code(source, outputs, tag="code", **metadata):
    """A code cell that says how many lines it has, and the columns of the longest."""
    printed = "".join(output.get("text", "") for output in outputs)
    lines = f"{source}\n{printed}".splitlines()
    cell = new_code_cell(source, outputs=outputs, metadata=metadata)
    cell.metadata.tags = [tag]
    cell.metadata.slideshow = {"slide_type": "-"}
    cell.metadata.size = {"columns": max(map(len, lines)), "lines": len(lines)}
    cell.metadata.transient = {"remove_source": not source}
    return cell


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write(folder)


if __name__ == "__main__":
    main()
