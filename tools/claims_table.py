"""A Sphinx extension: the directive `claims`, every claim in the book by its question.

It reads the questions and the claims from the notebooks, where `helpers.claims.claim`
puts them into the metadata of outputs, so it needs neither torch nor `helpers`.
"""

import json
import re
from pathlib import Path

from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective


class Claims(SphinxDirective):
    def run(self):
        found = []
        for name in self.env.external_site_map:
            path = Path(self.env.doc2path(name))
            if path.suffix != ".ipynb":
                continue
            self.env.note_dependency(str(path))
            notebook = json.loads(path.read_text("utf-8"))
            claims = claims_of(notebook)
            if not claims:
                logging.getLogger(__name__).warning(
                    "no claim in %s", path.name, location=self.get_location()
                )
            title, question = opening_of(notebook)
            lines = [
                f"## {title}",
                "",
                f"*{question}* [Read the chapter](/{name}.ipynb)",
                "",
            ]
            lines += ["| claim | measured |", "| --- | --- |"]
            for claim in claims:
                cells = (
                    text.replace("|", "\\|")
                    for text in (claim["statement"], claim["evidence"])
                )
                lines.append(f"| {' | '.join(cells)} |")
            text = "\n".join(lines)
            # MyST puts sections into the page at once, and returns none.
            found += self.parse_text_to_nodes(text, allow_section_headings=True)
        return found


def claims_of(notebook):
    """A parsed notebook's claims: dicts with a statement and its evidence."""
    outputs = [
        output for cell in notebook["cells"] for output in cell.get("outputs", [])
    ]
    return [
        output["metadata"]["claim"]
        for output in outputs
        if "claim" in output.get("metadata", {})
    ]


def opening_of(notebook):
    """A parsed notebook's title, and the question below it in one line."""
    opening = "".join(notebook["cells"][0]["source"])
    title = re.search(r"^# (.+)$", opening, re.M)
    question = re.search(r"^\*([^*]+)\*$", opening, re.M)
    return title[1], " ".join(question[1].split()) if question else ""


def setup(app):
    app.add_directive("claims", Claims)
    return {"parallel_read_safe": True}
