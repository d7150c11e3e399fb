"""A Sphinx extension: the directive `claims`, one table of every claim in the book.

It reads the claims from the metadata of the notebooks' outputs, where
`helpers.claims.claim` puts them, so it needs neither torch nor `helpers`.
"""

import json
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective


class Claims(SphinxDirective):
    def run(self):
        lines = ["| chapter | claim | measured |", "| --- | --- | --- |"]
        for name in self.env.external_site_map:
            path = Path(self.env.doc2path(name))
            if path.suffix != ".ipynb":
                continue
            self.env.note_dependency(str(path))
            claims = claims_of(json.loads(path.read_text("utf-8")))
            if not claims:
                logging.getLogger(__name__).warning(
                    "no claim in %s", path.name, location=self.get_location()
                )
            for claim in claims:
                cells = (
                    text.replace("|", "\\|")
                    for text in (claim["statement"], claim["evidence"])
                )
                lines.append(f"| [](/{name}.ipynb) | {' | '.join(cells)} |")
        return [
            nodes.container(
                "", *self.parse_text_to_nodes("\n".join(lines)), classes=["claims"]
            )
        ]


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


def setup(app):
    app.add_directive("claims", Claims)
    return {"parallel_read_safe": True}
