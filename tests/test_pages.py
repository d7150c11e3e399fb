"""The built pages in a real browser, as readers meet them.

On a screen, on a phone, in the dark, on paper, and without a network."""

import functools
import gzip
import http.server
import os
import re
import shutil
import threading
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import sync_playwright

from toc import NOTEBOOKS, PAGES

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])),
    None,
)
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
COMPRESSED = (".png", ".jpg", ".woff", ".woff2", ".ttf")
MOST_BYTES = 1_000_000


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=site)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no browser: install chromium, or set CHROMIUM to the path of one")
    with sync_playwright() as playwright:
        options = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
        ]
        with playwright.chromium.launch(
            executable_path=CHROMIUM, args=options
        ) as browser:
            yield browser


class Visit:
    """One tab with an empty cache.

    It notes what a page loads, what it asks of other hosts, and what goes wrong."""

    def __init__(self, browser, home):
        self.context = browser.new_context(
            viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
        )
        self.errors, self.elsewhere, self.responses = [], [], []
        self.tab = self.context.new_page()
        self.tab.on(
            "console",
            lambda message: (
                message.type == "error" and self.errors.append(message.text)
            ),
        )
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("response", lambda response: self.responses.append(response))
        self.tab.on("websocket", lambda socket: self.elsewhere.append(socket.url))
        self.context.route(
            lambda url: not url.startswith(home) and not url.startswith("data:"),
            self.refuse,
        )

    def refuse(self, route):
        self.elsewhere.append(route.request.url)
        route.abort()

    def open(self, url):
        self.tab.goto(url)
        self.tab.evaluate(
            "Promise.all([document.fonts.ready, window.MathJax?.startup?.promise])"
        )

    def unfold(self, is_open):
        """Open or close the hidden code, at once in place of fading."""
        self.tab.evaluate(
            """isOpen => {
                document.querySelectorAll("details.hide").forEach(d => d.open = isOpen);
                document.getAnimations().forEach(a => a.finish());
            }""",
            is_open,
        )

    def switch(self, scheme):
        """Show the page in its light or its dark colours."""
        self.tab.emulate_media(color_scheme=scheme)
        self.tab.wait_for_function(
            "scheme => document.documentElement.dataset.theme == scheme", arg=scheme
        )
        self.tab.evaluate("document.getAnimations().forEach(a => a.finish())")


# One load serves all tests of a page: since the fixture has the wider scope, pytest
# runs them together, in the order of this file.
@pytest.fixture(scope="module", params=[*PAGES, "search"])
def page(request, browser, address):
    visit = Visit(browser, address)
    visit.name = request.param
    visit.open(f"{address}{visit.name}.html")
    yield visit
    visit.context.close()


def test_loads_all_that_it_names(page):
    assert [response.url for response in page.responses if response.status >= 400] == []
    fonts = page.tab.evaluate(
        """[...document.fonts].filter(font => font.status == "loaded")
            .map(font => font.family)"""
    )
    assert any("Font Awesome" in font for font in fonts), "the icons' font is missing"
    assert not any("fa-solid" in response.url for response in page.responses), (
        "an icon is missing from tools/icons.py"
    )


def test_weighs_at_most_one_megabyte(page):
    def size(response):
        body = response.body()
        return (
            len(body)
            if response.url.endswith(COMPRESSED)
            else len(gzip.compress(body, 6))
        )

    sizes = {response.url: size(response) for response in page.responses}
    assert sum(sizes.values()) <= MOST_BYTES, sorted(
        (size, url) for url, size in sizes.items()
    )[-12:]


def test_every_image_is_there_and_says_what_it_shows(page):
    images = page.tab.evaluate(
        """const skew = image => {
            const style = getComputedStyle(image), pixels = parseFloat;
            const wide = pixels(style.paddingLeft) + pixels(style.paddingRight);
            const tall = pixels(style.paddingTop) + pixels(style.paddingBottom);
            return (image.clientWidth - wide) / (image.clientHeight - tall)
                / image.naturalWidth * image.naturalHeight;
        };
        [...document.querySelectorAll("article img")]
            .map(i => [i.src, i.alt, i.complete && i.naturalWidth, skew(i)])"""
    )
    for source, alt, width, skewed in images:
        assert width, source
        assert 0.98 < skewed < 1.02, f"{source} is stretched"
        assert len(alt.split()) >= 3 and not re.search(r"[0-9a-f]{20}", alt), (
            f"{source}: write an alt text that says what is seen, not {alt!r}"
        )
    assert images or page.name not in NOTEBOOKS


def test_every_formula_is_typeset(page):
    unset, raw = page.tab.evaluate("""() => {
        const main = document.querySelector("main").cloneNode(true);
        // MathJax shows a macro that it does not know in red.
        const unset = [...main.querySelectorAll(".math")]
            .filter(m => !m.querySelector("mjx-container")
                || m.querySelector("mjx-merror, [mathcolor=red]"))
            .map(m => m.textContent);
        main.querySelectorAll("pre, code, mjx-container, script, style")
            .forEach(e => e.remove());
        return [unset, main.textContent.match(/\\\\[(\\[a-z]|\\$/g) || []];
    }""")
    assert unset == []
    assert raw == []


# Every colour of code on its ground, once: a page has thousands of coloured words.
PALETTE = """() => {
    const {Color, flattenColors, getContrast} = axe.commons.color;
    const colour = text => { const c = new Color(); c.parseString(text); return c; };
    const grounds = new Map([[null, colour("white")]]);
    const groundOf = element => {
        if (!grounds.has(element)) {
            const own = colour(getComputedStyle(element).backgroundColor);
            grounds.set(element, flattenColors(own, groundOf(element.parentElement)));
        }
        return grounds.get(element);
    };
    const palette = new Map();
    for (const element of document.querySelectorAll("pre, pre *")) {
        const text = [...element.childNodes].find(n => n.nodeType == 3)?.data.trim();
        if (!text) continue;
        const ground = groundOf(element), ink = getComputedStyle(element).color;
        const both = `${ink} on ${ground.toHexString()}`;
        if (palette.has(both)) continue;
        const ratio = getContrast(flattenColors(colour(ink), ground), ground);
        palette.set(both, [element.className, text, both, ratio]);
    }
    return [...palette.values()];
}"""


def palette(tab):
    """All colours of code: lists of a word's class, the word, the colours, contrast."""
    if not tab.evaluate("!!window.axe"):
        tab.evaluate(AXE)
    return tab.evaluate(PALETTE)


def faint(colours):
    return [colour for colour in colours if colour[-1] < 4.5]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_keeps_the_rules_of_accessibility(page, scheme):
    page.switch(scheme)
    page.unfold(True)
    colours = palette(page.tab)
    # Then the coloured words, spans with a class and nothing else, are taken for the
    # plain text that they are to a screen reader: axe would take ten times as long.
    result = page.tab.evaluate("""async () => {
        const coloured = [...document.querySelectorAll("pre")]
            .filter(pre => !pre.querySelector(":not(span), [id], [style], [tabindex]"))
            .map(pre => [pre, [...pre.childNodes]]);
        coloured.forEach(([pre]) => pre.replaceChildren(pre.textContent));
        const result = await axe.run(document, {
            preload: false,
            resultTypes: ["violations"],
            runOnly: {
                type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
            },
            rules: {"label-content-name-mismatch": {enabled: true}},
        });
        coloured.forEach(([pre, words]) => pre.replaceChildren(...words));
        return result;
    }""")
    page.unfold(False)
    page.switch("light")
    found = [
        (rule["id"], node["html"], node["failureSummary"])
        for rule in result["violations"]
        for node in rule["nodes"]
    ]
    assert found == []
    assert len(result["passes"]) > 10
    assert len(colours) > 3 or page.name not in NOTEBOOKS
    assert faint(colours) == [], "code must stand out from its ground by 4.5 or more"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_faint_colour_of_code_is_found_in_its_scheme(browser, address, scheme):
    visit = Visit(browser, address)
    visit.open(f"{address}{NOTEBOOKS[0]}.html")
    visit.tab.add_style_tag(
        content="""html[data-theme="light"] .highlight .nn { color: #70767b }
            html[data-theme="dark"] .highlight .kc { color: #7d7f80 }"""
    )
    visit.switch(scheme)
    found = faint(palette(visit.tab))
    visit.context.close()
    assert {name for name, *_ in found} == {"nn" if scheme == "light" else "kc"}
    assert all(4 < ratio < 4.5 for *_, ratio in found)


def test_fits_a_phone(page):
    tab = page.tab
    tab.set_viewport_size({"width": 375, "height": 812})
    page.unfold(True)
    width, outside, cut = tab.evaluate("""() => {
        const hides = new Map(), scrolls = new Map([[document.body, false]]);
        const readStyle = element => {
            if (scrolls.has(element)) return;
            readStyle(element.parentElement);
            const overflow = getComputedStyle(element).overflowX;
            hides.set(element, ["hidden", "clip"].includes(overflow));
            scrolls.set(element, ["auto", "scroll"].includes(overflow)
                || scrolls.get(element.parentElement));
        };
        const all = [...document.querySelectorAll("main, main *")]
            .filter(e => !e.closest("mjx-assistive-mml") && e.clientWidth);
        all.forEach(readStyle);
        const isOutside = e => e.getBoundingClientRect().right > 376 && !scrolls.get(e);
        const isCut = e => hides.get(e) && e.scrollWidth > e.clientWidth + 1;
        return [
            document.scrollingElement.scrollWidth,
            ...[isOutside, isCut].map(is =>
                all.filter(is).map(element => element.outerHTML.slice(0, 200))),
        ];
    }""")
    page.unfold(False)
    tab.set_viewport_size({"width": 1280, "height": 900})
    assert width <= 375
    assert outside == []
    assert cut == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_in_figures_can_be_read_on_a_phone(page, scheme):
    page.tab.set_viewport_size({"width": 375, "height": 812})
    page.switch(scheme)
    shares = page.tab.evaluate("""[...document.querySelectorAll("article figure img")]
        .filter(image => image.clientWidth)
        .map(image => {
            const style = getComputedStyle(image);
            const room = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
            return (image.clientWidth - room) / image.naturalWidth;
        })""")
    page.switch("light")
    page.tab.set_viewport_size({"width": 1280, "height": 900})
    # The smallest text of a figure is in 11 points at 300 dots per inch.
    assert min([11 / 72 * 300 * share for share in shares], default=10) >= 10
    assert shares or page.name not in NOTEBOOKS


def test_prints_hidden_code_in_full(page):
    """How exercises print is in test_answers.py."""
    tab = page.tab
    # A4 between the browser's margins
    tab.set_viewport_size({"width": 718, "height": 1000})
    tab.emulate_media(media="print")
    hidden, bad = tab.evaluate("""() => {
        dispatchEvent(new Event("beforeprint"));
        const all = selector => [...document.querySelectorAll(selector)];
        const faint = e =>
            e && (getComputedStyle(e).opacity < 1 || faint(e.parentElement));
        const cut = e => e && e.tagName != "ARTICLE" && (
            e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1
            || cut(e.parentElement));
        const inFull = pre =>
            pre.checkVisibility() && pre.clientHeight > 10 && !faint(pre) && !cut(pre);
        return [
            all(".cell > details.hide").length,
            all("article .cell_input pre")
                .filter(pre => !inFull(pre)).map(e => e.outerHTML.slice(0, 300)),
        ];
    }""")
    # And the browser's own printing asks for the same.
    tab.evaluate("""addEventListener("beforeprint", () => {
        window.printed = [...document.querySelectorAll("details.hide")]
            .map(d => d.open);
    })""")
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    left_open = tab.evaluate("document.querySelectorAll('details.hide[open]').length")
    tab.emulate_media(media="screen")
    tab.pdf(page_ranges="1")
    printed = tab.evaluate("window.printed")
    tab.set_viewport_size({"width": 1280, "height": 900})
    assert bad == []
    assert left_open == 0
    assert all(printed) and len(printed) == hidden
    assert hidden or page.name not in NOTEBOOKS


def test_asks_nothing_of_other_hosts_and_raises_no_error(page):
    """After what the tests above did: hidden code, both themes, a phone, printing."""
    tab = page.tab
    page.unfold(True)
    tab.evaluate("""() => {
        const buttons = "article button, .theme-switch-button, .search-button-field";
        document.querySelectorAll(buttons).forEach(button => button.click());
        scrollTo(0, document.body.scrollHeight);
    }""")
    tab.locator("input[type=search]:visible").first.fill("logit")
    tab.keyboard.press("Escape")
    page.unfold(False)
    assert page.elsewhere == [], (
        "the page asks other hosts: put a copy of what it asks for into book/_static"
    )
    assert page.errors == []


@pytest.mark.parametrize(
    "script",
    [
        "new Image().src = 'https://example.org/x.png'",
        "fetch('https://example.org/x').catch(() => {})",
        "navigator.sendBeacon('https://example.org/x')",
        "new Worker(URL.createObjectURL(new Blob([`fetch('https://example.org/x')`])))",
        "new WebSocket('wss://example.org/x')",
        "document.body.style.background = 'url(https://example.org/x.png)'",
        "document.body.append(Object.assign(document.createElement('script'),"
        " {src: 'https://example.org/x.js'}))",
    ],
)
def test_what_a_page_asks_of_another_host_is_noted(browser, address, script):
    visit = Visit(browser, address)
    visit.open(f"{address}search.html")
    assert visit.elsewhere == []
    visit.tab.evaluate(f"() => {{ {script} }}")
    for _ in range(50):
        if visit.elsewhere:
            break
        visit.tab.wait_for_timeout(20)
    visit.context.close()
    assert [url[:21] for url in visit.elsewhere] in (
        ["https://example.org/x"],
        ["wss://example.org/x"],
    )


@pytest.mark.parametrize("from_disk", [False, True], ids=["over http", "from the disk"])
def test_search_finds_a_word(browser, address, site, from_disk):
    home = f"{site.as_uri()}/" if from_disk else address
    visit = Visit(browser, home)
    visit.tab.goto(f"{home}index.html")
    visit.tab.wait_for_url(f"{home}{PAGES[0]}.html")
    visit.tab.locator(".search-button-field").click()
    visit.tab.locator("#pst-search-dialog input").fill("logit")
    visit.tab.keyboard.press("Enter")
    # It shows one page after the other, and says at the end that it has finished.
    visit.tab.wait_for_function(
        "document.querySelector('.search-summary')?.textContent.includes('finished')"
    )
    found = visit.tab.eval_on_selector_all(
        "#search-results li a", "links => links.map(link => link.href)"
    )
    visit.context.close()
    for name in NOTEBOOKS:
        assert any(f"{name}.html" in link for link in found), found
    assert visit.elsewhere == []
