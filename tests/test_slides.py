"""The slides in a real browser, opened from the disk as in a room without network."""

import re

import pytest

import slides
import test_pages
from cells import is_exercise
from teach import CHAPTERS, notebook_of, notes_of

browser = test_pages.browser
SCREENS = {"1280x720": (1280, 720), "1024x768": (1024, 768)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides") / "für den Raum"
    folder.mkdir()
    slides.write(folder)
    return folder


class Deck(test_pages.Visit):
    """The slides of a chapter, open in a tab."""

    def __init__(self, browser, path, query=""):
        super().__init__(browser, f"{path.parent.as_uri()}/")
        self.tab.set_viewport_size({"width": 1280, "height": 720})
        self.open(path.as_uri() + query)
        self.tab.evaluate("document.fonts.ready")


@pytest.fixture(scope="module", params=CHAPTERS)
def deck(request, browser, folder):
    deck = Deck(browser, folder / f"{request.param}.html")
    deck.name, deck.plan = request.param, notes_of(request.param)["slide"]
    yield deck
    deck.context.close()


def test_has_a_slide_for_each_of_the_plan(deck):
    found = deck.tab.evaluate(
        """Reveal.getSlides().map(slide =>
            [...slide.querySelectorAll("h1, h2")].map(title => title.tagName))"""
    )
    assert found == [["H1"], *([["H2"]] * (len(deck.plan) - 1))]
    assert deck.tab.locator(".slide-number").inner_text() == f"1 / {len(deck.plan)}"


# What leaves the frame (but for a margin, where the number stands), and what leaves its
# own box: [title, what, by how many pixels], with all steps shown.
OVERFLOWS = """() => Reveal.getSlides().flatMap((slide, number) => {
    Reveal.slide(number, 0, 99);
    // A formula's text for screen readers takes no room, and yet counts as wide.
    for (const copy of slide.querySelectorAll("mjx-assistive-mml"))
        copy.style.setProperty("display", "none", "important");
    const scale = Reveal.getScale();
    const frame = document.querySelector(".slides").getBoundingClientRect();
    const parts = [...slide.querySelectorAll("*")].filter(
        part => !part.closest("aside, mjx-container > *"));
    return parts.flatMap(part => {
        const box = part.getBoundingClientRect();
        const over = [
            (frame.left - box.left) / scale + 40,
            (box.right - frame.right) / scale + 40,
            (frame.top - box.top) / scale + 20,
            (box.bottom - frame.bottom) / scale + 36,
            part.clientWidth && part.scrollWidth - part.clientWidth,
        ];
        const most = Math.round(Math.max(...over));
        const title = slide.querySelector("h1, h2").textContent;
        const found = [[title, part.outerHTML.slice(0, 80), most]];
        return box.width && most > 1 ? found : [];
    });
})"""


@pytest.mark.parametrize("screen", SCREENS.values(), ids=SCREENS)
def test_every_slide_fits_its_frame(deck, screen):
    width, height = screen
    deck.tab.set_viewport_size({"width": width, "height": height})
    deck.tab.wait_for_function(
        "scale => Math.abs(Reveal.getScale() - scale) < 0.01", arg=width / 1280
    )
    assert deck.tab.evaluate(OVERFLOWS) == []
    deck.tab.set_viewport_size({"width": 1280, "height": 720})


FORMULAS = """() => {
    const main = document.querySelector("main").cloneNode(true);
    const wrong = [...main.querySelectorAll("mjx-merror, [mathcolor=red]")]
        .map(formula => formula.textContent);
    const set = main.querySelectorAll("mjx-container").length;
    const others = "pre, code, mjx-container, style, script";
    main.querySelectorAll(others).forEach(other => other.remove());
    return [set, wrong, main.textContent.match(/\\\\[(\\[a-z]|\\$|\\*\\*/g) || []];
}"""


def test_every_formula_is_typeset(deck):
    typeset, wrong, raw = deck.tab.evaluate(FORMULAS)
    dollars = sum(str(row).count("$") for row in deck.plan)
    assert typeset or not dollars
    assert wrong == []
    assert raw == []


def test_a_question_comes_before_its_answer(deck):
    """By the keys of a presenter: each step shows one thing more."""
    cells = {cell.id: cell for cell in notebook_of(deck.name).cells}
    for number, row in enumerate(deck.plan):
        shown = [cells[name] for name in row.get("cells", [])]
        asks = "ask" in row and ("text" in row or bool(shown))
        steps = asks + sum(is_exercise(cell) for cell in shown)
        deck.tab.evaluate("number => Reveal.slide(number, 0, -1)", number)
        for step in range(steps + 1):
            visible = deck.tab.evaluate("""() => {
                document.getAnimations().forEach(animation => animation.finish());
                const steps = Reveal.getCurrentSlide().querySelectorAll(".fragment");
                const options = {opacityProperty: true, visibilityProperty: true};
                return [...steps].map(step =>
                    [...step.querySelectorAll("p, li, pre, img, table")]
                        .filter(part => part.closest(".fragment") == step)
                        .map(part => part.checkVisibility(options)));
            }""")
            assert len(visible) == steps, row["title"]
            for place, parts in enumerate(visible):
                assert parts and set(parts) == {place < step}, row["title"]
            deck.tab.keyboard.press("ArrowRight")
        after = deck.tab.evaluate("Reveal.getIndices().h")
        assert after == min(number + 1, len(deck.plan) - 1)


def test_every_slide_has_notes_that_the_room_does_not_see(deck):
    notes = deck.tab.evaluate(
        """Reveal.getSlides().map(slide => [...slide.querySelectorAll("aside.notes")]
            .map(notes => [notes.textContent.length > 20, !notes.offsetHeight]))"""
    )
    assert notes == [[[True, True]]] * len(deck.plan)


def test_every_figure_is_sharp_and_says_what_it_shows(deck):
    images = deck.tab.evaluate("""Reveal.getSlides().flatMap((slide, number) => {
        Reveal.slide(number, 0, 99);
        return [...slide.querySelectorAll("img")]
            .map(image => [image.alt, image.naturalWidth / image.offsetWidth]);
    })""")
    assert len(images) >= 4
    for alt, density in images:
        assert len(alt.split()) >= 10, alt
        assert density >= 2, f"{density:.2f} dots per pixel: {alt}"


def test_keeps_the_rules_of_accessibility_and_prints_a_page_for_each_slide(
    browser, folder, deck
):
    printed = Deck(browser, folder / f"{deck.name}.html", "?print-pdf")
    printed.tab.wait_for_selector(".pdf-page")
    printed.tab.evaluate(test_pages.AXE)
    found = printed.tab.evaluate("""async () => {
        const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];
        const result = await axe.run(document, {
            preload: false,
            resultTypes: ["violations"],
            runOnly: {type: "tag", values: tags},
        });
        return result.violations.flatMap(
            rule => rule.nodes.map(node => [rule.id, node.html]));
    }""")
    printed.tab.emulate_media(media="print")
    bad = printed.tab.evaluate("""() => {
        const left = element => element.getBoundingClientRect().left;
        return [...document.querySelectorAll(".pdf-page")].map(page => [
            page.scrollWidth > page.clientWidth, page.scrollHeight > page.clientHeight,
            left(page.querySelector("h1, h2")) - left(page) < 40,
            !page.querySelector(".slide-number"),
        ]);
    }""")
    pdf = printed.tab.pdf(prefer_css_page_size=True)
    printed.context.close()
    assert found == []
    assert bad == [[False] * 4] * len(deck.plan)
    assert len(re.findall(rb"/Type /Page\b", pdf)) == len(deck.plan)
    assert (printed.elsewhere, printed.errors) == ([], [])


def test_asks_nothing_of_other_hosts_and_raises_no_error(deck):
    """After what the tests above did: all slides and steps."""
    assert (deck.elsewhere, deck.errors) == ([], [])
    assert deck.tab.evaluate("document.fonts.size") > 10, "MathJax's fonts are missing"


def test_the_speaker_view_follows(browser, folder):
    """It opens from the disk too: the slide, the next step, a clock and the notes."""
    name = CHAPTERS[0]
    deck = Deck(browser, folder / f"{name}.html")
    with deck.context.expect_page() as opened:
        deck.tab.keyboard.press("s")
    speaker = opened.value
    deck.tab.keyboard.press("ArrowRight")
    second = deck.tab.evaluate(
        "document.querySelectorAll('aside.notes')[1].querySelector('p').textContent"
    )
    speaker.wait_for_selector(f"text={second[:30]}")
    shown, upcoming = [frame.url for frame in speaker.frames[1:]]
    deck.context.close()
    assert f"{name}.html?receiver" in shown and f"{name}.html?receiver" in upcoming
    assert (deck.elsewhere, deck.errors) == ([], [])


def test_the_same_twice():
    notebook, notes = notebook_of(CHAPTERS[0]), notes_of(CHAPTERS[0])
    assert slides.deck(notebook, notes) == slides.deck(notebook, notes)


def test_what_is_wrong_is_noted(browser, folder):
    """Too much text, a code that no room can read, a macro, a dollar, another host."""
    notebook, notes = notebook_of(CHAPTERS[0]), notes_of(CHAPTERS[0])
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    code.source, code.metadata.tags = "x = " + "1 + " * 30 + "1", []
    notes["slide"] = [
        {"title": "First", "notes": ""},
        {"title": "Long", "text": "many words " * 400, "notes": ""},
        {"title": "Wide", "cells": [code.id], "notes": ""},
        {"title": "Macro", "text": r"$\unknown$", "notes": ""},
        {"title": "Dollar", "text": "it costs 5 $", "notes": ""},
        {"title": "Host", "text": "![](https://example.org/x.png)", "notes": ""},
    ]
    path = folder / "wrong.html"
    path.write_text(slides.deck(notebook, notes), "utf-8")
    deck = Deck(browser, path)
    titles = {title for title, _, _ in deck.tab.evaluate(OVERFLOWS)}
    _, wrong, raw = deck.tab.evaluate(FORMULAS)
    deck.context.close()
    assert titles == {"Long", "Wide"}
    assert (len(wrong), raw) == (1, ["$"])
    assert set(deck.elsewhere) == {"https://example.org/x.png"}
