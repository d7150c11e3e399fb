"""A Sphinx extension: what of a chapter is another on its page than in its notebook.

Captions go into their figures, exercises become forms, the link that runs the chapter
becomes a download where the book has no address, and the self-contained notebooks are
written next to the pages.
"""

from pathlib import Path

import nbformat

import answers
import editions
import teach
from cells import caption_of, tags

# A page is old when what made it has changed.
MADE_BY = [
    *(
        teach.ROOT / "tools" / f"{name}.py"
        for name in ("answers", "cells", "chapters", "editions")
    ),
    teach.ROOT / "helpers" / "exercises.py",
]
COLAB = "https://colab.research.google.com/"


def chapter_of(app, docname):
    """The name of the chapter that a page shows, or None."""
    path = Path(app.env.doc2path(docname))
    return path.stem if path.suffix == ".ipynb" else None


def read(app, docname, source):
    name = chapter_of(app, docname)
    if name is None:
        return
    for path in MADE_BY:
        app.env.note_dependency(str(path))
    notebook = nbformat.reads(source[0], as_version=4)
    captions_into_figures(notebook)
    answers.in_page(notebook, name)
    notebook.cells[0].source = with_door(notebook.cells[0].source, name)
    source[0] = nbformat.writes(notebook)


def captions_into_figures(notebook):
    for cell in notebook.cells:
        if caption := caption_of(notebook, cell):
            cell.metadata["mystnb"]["figure"]["caption"] = caption
    notebook.cells = [cell for cell in notebook.cells if "caption" not in tags(cell)]


def with_door(opening, name):
    """The opening of a chapter, with the notebook that `write_notebooks` puts there.

    Where the book has no address, its link is that file.
    """
    file = f'<a href="{name}.ipynb" download>{{}}ownload the notebook</a>'
    if "[Open in Colab](" in opening:
        how = f"Or {file.format('d')}: it needs nothing else"
    else:
        opening = editions.LINK.sub(file.format("D"), opening)
        colab = f'<a href="{COLAB}">Colab</a>'
        how = (
            f"<strong>Three clicks to run it in Colab</strong>: {file.format('d')}; "
            f"open {colab} and choose <em>Upload</em>; drop the file there. Then run "
            "its first cell: it needs nothing else"
        )
    anywhere = "and runs as well in Kaggle, JupyterLab or VS Code"
    # From a disk, browsers show a file that they would download from a server.
    on_disk = (
        "<span hidden> (If your browser shows text instead: save that page, and keep "
        f"the name <code>{name}.ipynb</code>.)</span>"
    )
    return f'{opening}\n\n<p class="door">{how}, {anywhere}.{on_disk}</p>\n'


def write_notebooks(app, exception):
    if exception is None and app.builder.format == "html":
        for docname in app.env.found_docs:
            if name := chapter_of(app, docname):
                path = Path(app.outdir, docname).with_suffix(".ipynb")
                text = editions.text_of(editions.self_contained(name))
                path.write_text(text, "utf-8", newline="\n")


def lead_to_notebooks(app, pagename, templatename, context, doctree):
    """Let the download button lead there: pages keep no copy of their source."""
    for group in context.get("header_buttons", []):
        if group.get("label") != "download-buttons":
            continue
        buttons = {button["label"]: button for button in group["buttons"]}
        source = buttons["download-source-button"]
        if context.get("page_source_suffix") == ".ipynb":
            source["url"] = f"{Path(pagename).name}.ipynb"
        else:
            group["buttons"].remove(source)


def setup(app):
    app.connect("source-read", read)
    app.connect("build-finished", write_notebooks)
    app.connect("html-page-context", lead_to_notebooks, priority=900)
    return {"parallel_read_safe": True}
