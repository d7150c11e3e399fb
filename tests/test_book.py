"""The built book: it builds without a warning, stands on its own, and shows every claim on its front page."""

import json
import re
import shutil

import pytest
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from toc import NOTEBOOKS, PAGES, ROOT

MARKDOWN = MarkdownIt().use(dollarmath_plugin)


def html(path):
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


def words(text):
    """A text without what differs from source to page: spaces, quotation marks, the marks around formulas."""
    return re.findall(r"\w+|[-+<=>%]", text)


def claim_metadata(notebook):
    """The metadata of the outputs that are claims, in order."""
    outputs = [
        output for cell in notebook["cells"] for output in cell.get("outputs", [])
    ]
    return [
        output["metadata"]
        for output in outputs
        if "claim" in output.get("metadata", {})
    ]


def test_every_page_is_built_and_the_first_leads_to_the_front_page(site):
    for page in PAGES:
        assert (site / f"{page}.html").is_file()
    refresh = html(site / "index.html").find("meta", attrs={"http-equiv": "Refresh"})
    assert refresh["content"].endswith(f"url={PAGES[0]}.html")


def test_the_front_page_shows_every_claim(site):
    expected = []
    for page in NOTEBOOKS:
        notebook = json.loads((ROOT / f"{page}.ipynb").read_text("utf-8"))
        for metadata in claim_metadata(notebook):
            cells = [
                words(
                    BeautifulSoup(
                        MARKDOWN.render(metadata["claim"][key]), "html.parser"
                    ).text
                )
                for key in ("statement", "evidence")
            ]
            expected.append([page.rsplit("/")[-1] + ".html", *cells])
    shown = []
    for row in html(site / f"{PAGES[0]}.html").select(".claims tbody tr"):
        chapter, statement, evidence = row.find_all("td")
        shown.append([chapter.a["href"], words(statement.text), words(evidence.text)])
    assert shown == expected
    assert len({page for page, *_ in shown}) == len(NOTEBOOKS) > 0


def test_a_chapter_that_loses_its_claims_stops_the_build(source, build, tmp_path):
    folder = tmp_path / "book"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("_build"))
    assert build(folder).returncode == 0
    path = folder / f"{NOTEBOOKS[0]}.ipynb"
    notebook = json.loads(path.read_text("utf-8"))
    for claim in claim_metadata(notebook):
        del claim["claim"]
    path.write_text(json.dumps(notebook), "utf-8")
    # The front page itself has not changed: it must be read again because the notebook has.
    again = build(folder)
    assert again.returncode != 0
    assert f"no claim in {path.name}" in again.stdout


def test_the_icon_font_holds_the_icons_that_the_style_sheet_takes_from_it():
    static = ROOT / "book" / "_static"
    taken = re.search(
        r"unicode-range: (.*);", (static / "book.css").read_text("utf-8")
    )[1]
    assert sorted(TTFont(static / "icons.woff").getBestCmap()) == [
        int(code, 16) for code in re.findall(r"U\+(\w+)", taken)
    ]


@pytest.mark.parametrize("kind", ["html", "css"])
def test_no_page_names_a_script_style_font_or_image_of_another_host(site, kind):
    elsewhere = re.compile(r"^\s*(https?:)?//", re.I)
    for path in site.rglob(f"*.{kind}"):
        if kind == "css":
            found = re.findall(
                r"""(?:url\(|@import)\s*["']?([^"')\s]+)""", path.read_text("utf-8")
            )
        else:
            found = [
                tag.get("src") or tag.get("href") or ""
                for tag in html(path).select("[src], link[href]")
            ]
        assert [address for address in found if elsewhere.match(address)] == [], path
