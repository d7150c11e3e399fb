"""The built book: no warning, no dead link, no other host, and every claim."""

import functools
import json
import re
from urllib.parse import unquote, urlsplit

import nbformat.v4 as nbf
import pytest
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from toc import NOTEBOOKS, PAGES, ROOT

MARKDOWN = MarkdownIt().use(dollarmath_plugin)
FIRST_CELL = (ROOT / "tools" / "bootstrap_cell.py").read_text("utf-8")
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)

# What names another host, at the start of a text or after what opens an address in it.
# Browsers take a backslash for a slash.
ELSEWHERE = re.compile(
    r"""(?:^|[\s,;=("'`])((?:(?:https?|wss?|ftp):|[/\\]{2}[\w[$])[^\s"')]*)""", re.I
)
# The same as a string, or the rest of a string, in a script.
IN_SCRIPT = re.compile(r"""["'`}]((?:(?:https?|wss?|ftp):|\\?/\\?/)[^"'`]*)""", re.I)
# Pictures and fonts that are written out load nothing.
WRITTEN_OUT = re.compile(
    r"""^\s*data:(?:image|font)/.*|url\(\s*(["']?)data:(?:image|font)/.*?\1\s*\)""",
    re.S | re.I,
)
LINKS = {"href", "src", "action", "poster", "data"}
COMMENT = re.compile(r"/\*.*?\*/", re.S)
# Names that look like addresses, and what other people's scripts hold: an operator of
# formulas, and a path that MathJax looks for where it was not told its own.
NAMESPACES = {
    "http://www.w3.org/1998/Math/MathML",
    "http://www.w3.org/1999/xhtml",
    "http://www.w3.org/1999/xlink",
    "http://www.w3.org/2000/svg",
}
KNOWN = {
    "_static/mathjax/core.js": {"//"},
    "_static/mathjax/startup.js": {"//../../es5"},
}


@functools.cache
def parse(text):
    return BeautifulSoup(text, "html.parser", multi_valued_attributes=None)


def html(path):
    return parse(path.read_text("utf-8"))


def words(text):
    """A text without what differs from source to page: spaces, quotes, dollar signs."""
    return re.findall(r"\w+|[-+<=>%]", text)


def test_every_page_is_built_and_the_first_leads_to_the_front_page(site):
    for page in PAGES:
        assert (site / f"{page}.html").is_file()
    refresh = html(site / "index.html").find("meta", attrs={"http-equiv": "Refresh"})
    assert refresh["content"].endswith(f"url={PAGES[0]}.html")


def test_one_page_shows_every_claim_by_its_chapter(site):
    expected = []
    for page in NOTEBOOKS:
        notebook = json.loads((ROOT / f"{page}.ipynb").read_text("utf-8"))
        chapter = page.rsplit("/")[-1] + ".html"
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                if claim := output.get("metadata", {}).get("claim"):
                    rendered = (
                        parse(MARKDOWN.render(claim[key])).text
                        for key in ("statement", "evidence")
                    )
                    expected.append([chapter, *map(words, rendered)])
    shown = []
    for section in html(site / "book/claims.html").select("section section"):
        assert section.h2 and section.em.text.strip().endswith("?")
        for row in section.select("tbody tr"):
            texts = [words(cell.text) for cell in row.find_all("td")]
            shown.append([section.p.a["href"], *texts])
    assert shown == expected
    assert len({page for page, *_ in shown}) == len(NOTEBOOKS) > 0


def test_the_front_page_leads_to_every_chapter_and_keeps_no_claim(site):
    front = html(site / f"{PAGES[0]}.html").article
    links = [link["href"] for link in front.select("td a")]
    assert links == [page.rsplit("/")[-1] + ".html" for page in NOTEBOOKS]
    assert "measured" not in [cell.text for cell in front.find_all("th")]


def test_the_front_page_names_each_chapter_by_its_title():
    """In its source too, which GitHub shows."""
    text = (ROOT / f"{PAGES[0]}.md").read_text("utf-8")
    linked = dict(re.findall(r"\[([^\]]*)\]\((\w+\.ipynb)\)", text))
    titles = {}
    for page in NOTEBOOKS:
        notebook = json.loads((ROOT / f"{page}.ipynb").read_text("utf-8"))
        titles[notebook["cells"][0]["source"][0].strip("# \n")] = f"{page[5:]}.ipynb"
    assert linked == titles
    assert "{" not in text, "GitHub shows a directive as it is written"


def test_a_chapter_without_claims_or_with_a_dead_link_stops_the_build(
    build, sources, tmp_path
):
    sources(tmp_path)
    (tmp_path / "_toc.yml").write_text(
        "{format: jb-book, root: book/index, chapters: [{file: book/chapter}]}"
    )
    (tmp_path / "book" / "index.md").write_text("# Front page\n\n```{claims}\n```\n")

    def write(links, **claim):
        figure = {"figure": {"name": "fig-here"}}
        cells = [
            nbf.new_markdown_cell(f"# Chapter\n\nText. {links}\n\n## A section"),
            nbf.new_code_cell(FIRST_CELL, id="bootstrap"),
            nbf.new_code_cell(
                "pass",
                metadata={"mystnb": figure},
                outputs=[nbf.new_output("display_data", {"image/png": PIXEL})],
            ),
            nbf.new_markdown_cell(
                f"**Figure.** A caption. {links}", metadata={"tags": ["caption"]}
            ),
            nbf.new_code_cell(
                "pass",
                outputs=[
                    nbf.new_output(
                        "display_data",
                        {"text/markdown": f"Out. {links}"},
                        metadata=claim,
                    )
                ],
            ),
        ]
        notebook = nbf.new_notebook(
            cells=cells, metadata={"language_info": {"name": "python"}}
        )
        (tmp_path / "book" / "chapter.ipynb").write_text(nbf.writes(notebook), "utf-8")
        return build(tmp_path)

    built = write(
        "[a](#a-section) [b](#fig-here) [c](index.md#front-page)",
        claim={"statement": "It holds", "evidence": "1"},
    )
    assert built.returncode == 0, built.stdout
    # The front page itself has not changed: it is read again because the notebook has.
    built = write("[a](#nowhere) [b](index.md#nobody) [c](no.ipynb)")
    assert built.returncode != 0
    assert "no claim in chapter.ipynb" in built.stdout
    for missing in ("nowhere", "nobody", "no.ipynb"):
        # in the text, in the caption and in the output
        assert built.stdout.count(f"'{missing}'") == 3, built.stdout


def test_the_icon_font_holds_the_icons_that_the_style_sheet_takes_from_it():
    static = ROOT / "book" / "_static"
    taken = re.search(
        r"unicode-range: (.*);", (static / "book.css").read_text("utf-8")
    )[1]
    assert sorted(TTFont(static / "icons.woff").getBestCmap()) == [
        int(code, 16) for code in re.findall(r"U\+(\w+)", taken)
    ]


def dead_links(folder):
    """The links between the files of a site that lead to no file, or to no place in it.

    Returns texts that name the page and the link."""
    pages = {
        page: html(page).find_all(True)
        for page in folder.rglob("*.html")
        if "_static" not in page.parts
    }
    places = {page: {tag.get("id") for tag in tags} for page, tags in pages.items()}
    dead = []
    for page, tags in pages.items():
        for link in (tag[name] for tag in tags for name in LINKS & tag.attrs.keys()):
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (page.parent / unquote(url.path)).resolve() if url.path else page
            place = unquote(url.fragment)
            if not target.is_file() or (place and place not in places.get(target, ())):
                dead.append(f"{page.relative_to(folder)}: {link}")
    return dead


def test_every_link_leads_to_a_file_and_to_a_place_in_it(site):
    dead = dead_links(site)
    assert not dead, (
        "These links lead nowhere: name a page and a heading or figure that exist, "
        f"or remove them: {dead}"
    )


def test_dead_links_are_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "data set.csv").touch()
    (tmp_path / "a" / "one.html").write_text(
        """<h1 id="here"></h1> <h2 id="x é"></h2> <a>text</a>
        <a href="">1</a> <a href="#">2</a> <a href="#here">3</a>
        <a href="#x%20%C3%A9">4</a> <a href="one.html#here">5</a>
        <a href="../two.html#there">6</a> <a href="../data%20set.csv">7</a>
        <a href="https://example.org/#gone">8</a> <a href="mailto:me@example.org">9</a>
        <a href="//example.org/gone">10</a> <img src="data:image/png;base64,AA">
        <a href="../two.html?q=1#there">11</a>

        <a href="#there">1</a> <a href="two.html">2</a> <a href="../two.html#here">3</a>
        <img src="../gone.png"> <form action="gone.html"></form> <a href="..">4</a>
        <a href="../data%20set.csv#here">5</a> <video poster="gone.jpg"></video>
        <object data="gone.svg"></object> <a href="one.html#">6</a>"""
    )
    (tmp_path / "two.html").write_text('<p id="there"> <a href="gone.css">')
    gone = ["#there", "two.html", "../two.html#here", "../gone.png", "gone.html", ".."]
    gone += ["../data%20set.csv#here", "gone.jpg", "gone.svg"]
    assert sorted(dead_links(tmp_path)) == sorted(
        [*(f"a/one.html: {link}" for link in gone), "two.html: gone.css"]
    )


def foreign(text, kind):
    """The addresses of other hosts that a browser may ask because of this text.

    kind: "html", "svg", "css" or "js". Links that a reader may follow are not meant."""
    if kind == "js":
        return [url for url in IN_SCRIPT.findall(text) if url not in NAMESPACES]
    if kind == "css":
        return ELSEWHERE.findall(WRITTEN_OUT.sub("", COMMENT.sub("", text)))
    found = []
    for tag in parse(text).find_all(True):
        for name, value in tag.attrs.items():
            followed = tag.name in ("a", "area") and name in ("href", "xlink:href")
            if not (
                name.startswith("xmlns")
                or name in ("alt", "title", "aria-label")
                or (tag.name == "meta" and "http-equiv" not in tag.attrs)
                or (followed and re.match(r"\s*(https?:)?//", value))
            ):
                # Browsers leave out tabs and line breaks.
                value = re.sub(r"[\t\r\n]", "", WRITTEN_OUT.sub("", value))
                found += ELSEWHERE.findall(value)
        if tag.name in ("script", "style"):
            found += foreign(tag.text, "js" if tag.name == "script" else "css")
    return found


@pytest.mark.filterwarnings("ignore::bs4.XMLParsedAsHTMLWarning")  # of pictures
def test_no_file_asks_another_host(site):
    found = {}
    for path in site.rglob("*.*"):
        kind, name = path.suffix[1:], path.relative_to(site).as_posix()
        if kind in ("html", "svg", "css", "js"):
            urls = set(foreign(path.read_text("utf-8"), kind))
            if urls := urls - KNOWN.get(name, set()):
                found[name] = urls
    assert not found, (
        "A reader's browser would ask other hosts: put a copy of what it asks for "
        f"into book/_static and name it by its relative path: {found}"
    )


HOST = "https://example.org/x"


@pytest.mark.parametrize(
    "form",
    [
        f'<img src="{HOST}">',
        '<img src="//example.org/x">',
        r'<img src="\\example.org/x">',
        r'<img src="/\example.org/x">',
        '<img src=" HTTPS:/example.org/x">',
        '<img src="ht\ntps://example.org/x">',
        '<img src="http&#58;//example.org/x">',
        '<img src="//[2001:db8::1]/x">',
        f'<img srcset="a.png 1x, {HOST} 2x">',
        '<img srcset="a.png 1x,//example.org/x 2x">',
        f'<source srcset="{HOST}">',
        f'<video poster="{HOST}"></video>',
        f'<audio src="{HOST}"></audio>',
        f'<track src="{HOST}">',
        f'<object data="{HOST}"></object>',
        f'<embed src="{HOST}">',
        f'<iframe src="{HOST}"></iframe>',
        f"<iframe srcdoc=\"<img src='{HOST}'>\"></iframe>",
        f'<iframe src="data:text/html,<img src={HOST}>"></iframe>',
        f'<form action="{HOST}"></form>',
        f'<button formaction="{HOST}"></button>',
        f'<body background="{HOST}">',
        f'<base href="{HOST}">',
        f'<a href="x.html" ping="{HOST}">x</a>',
        "<a href=\"javascript:fetch('//example.org')\">x</a>",
        f'<link rel="stylesheet" href="{HOST}">',
        f'<link rel="preconnect" href="{HOST}">',
        '<link rel="dns-prefetch" href="//example.org">',
        f'<link rel="prefetch" href="{HOST}">',
        f'<link rel="icon" href="{HOST}">',
        f'<link rel="preload" as="image" imagesrcset="{HOST} 2x">',
        f'<meta http-equiv="refresh" content="0; url={HOST}">',
        '<meta http-equiv="refresh" content="0;url=//example.org">',
        f'<svg><use href="{HOST}#a"/></svg>',
        f'<svg><use xlink:href="{HOST}#a"/></svg>',
        f'<svg><image xlink:href="{HOST}"/></svg>',
        f'<svg><rect fill="url({HOST}#a)"/></svg>',
        f'<p style="background: url({HOST})">',
        f"<p style=\"background: url('{HOST}')\">",
        f'<style>@import "{HOST}";</style>',
        "<style>@import url(//example.org/x.css);</style>",
        f'<style>p {{background: image-set("{HOST}" 1x)}}</style>',
        f"<style>p {{src: url(data:font/woff;base64,AA), url({HOST})}}</style>",
        f'<noscript><img src="{HOST}"></noscript>',
        f'<template><img src="{HOST}"></template>',
        "<p onclick=\"fetch('//example.org/x')\">",
        f'<script src="{HOST}"></script>',
        f'<script>fetch("{HOST}")</script>',
        "<script>fetch(`//example.org/${x}`)</script>",
        "<script>fetch(`${location.protocol}//example.org`)</script>",
        "<script>fetch(location.protocol + '//' + host)</script>",
        '<script>fetch("https:" + host)</script>',
        r'<script>fetch("https:\/\/example.org")</script>',
        r'<script>fetch("\/\/example.org")</script>',
        f'<script>import("{HOST}")</script>',
        f'<script type="module">import x from "{HOST}"</script>',
        f'<script type="importmap">{{"imports": {{"x": "{HOST}"}}}}</script>',
        f'<script>new Worker("{HOST}")</script>',
        f'<script>x.open("GET", "{HOST}")</script>',
        f'<script>navigator.sendBeacon("{HOST}")</script>',
        f"<script>new Image().src = '{HOST}'</script>",
        '<script>new WebSocket("wss://example.org")</script>',
        f'<script>new EventSource("{HOST}")</script>',
    ],
)
def test_each_way_to_ask_another_host_is_found(form):
    assert foreign(f"<p>Text.</p>{form}", "html")


@pytest.mark.parametrize(
    "form",
    [
        f'See {HOST}, <a href="{HOST}">this</a> and <a href="//example.org">that</a>.',
        f'<map><area href="{HOST}"></map>',
        f'<svg xmlns="http://www.w3.org/2000/svg"><a xlink:href="{HOST}">x</a></svg>',
        f'<img src="../a//b.png" alt="See {HOST}" title="{HOST}" aria-label="{HOST}">',
        f'<meta property="og:url" content="{HOST}">',
        '<img src="data:image/png;base64,//9j/4AA//8=">',
        "<img src=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>\">",
        f"<style>/* {HOST} */ p {{color: red}}</style>",
        "<style>p {background: url(\"data:image/svg+xml,<svg xmlns='http://a'/>\")}"
        "</style>",
        "<script>// a comment\nlet a = 1 / 2; // another\nimport('./x.js')</script>",
        '<script>x.createElementNS("http://www.w3.org/2000/svg", "g")</script>',
        f"<pre>fetch(&quot;{HOST}&quot;)</pre>",
    ],
)
def test_what_asks_no_other_host_is_not_found(form):
    assert foreign(f"<p>Text.</p>{form}", "html") == []


def test_docstrings_name_chapters_that_there_are():
    titles = []
    for page in NOTEBOOKS:
        notebook = json.loads((ROOT / f"{page}.ipynb").read_text("utf-8"))
        titles.append(notebook["cells"][0]["source"][0].strip("# \n"))
    for path in (ROOT / "helpers").glob("*.py"):
        text = " ".join(path.read_text("utf-8").split())
        for named in re.findall(r'chapters? "([^"]+)"(?: and,?[^"]* "([^"]+)")?', text):
            for name in filter(None, named):
                assert any(title.startswith(name) for title in titles), (path, name)


def test_every_work_of_the_references_is_linked_from_a_chapter():
    text = (ROOT / "book/references.md").read_text("utf-8")
    works = text.split("## Models and software")[0]
    chapters = "".join(
        "".join(cell["source"])
        for page in NOTEBOOKS
        for cell in json.loads((ROOT / f"{page}.ipynb").read_text("utf-8"))["cells"]
    )
    links = re.findall(r"\]\((https?://\S+)\)", works)
    assert len(links) > 20
    assert [link for link in links if link not in chapters] == []
