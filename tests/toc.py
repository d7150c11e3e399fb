"""The pages of the book, in the order of `_toc.yml`, without their file endings."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent

_toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
PAGES = [
    _toc["root"],
    *(chapter["file"] for part in _toc["parts"] for chapter in part["chapters"]),
]
NOTEBOOKS = [page for page in PAGES if (ROOT / f"{page}.ipynb").exists()]
