"""The figure with a slider: its numbers, and how it behaves in a real browser."""

import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_output
from sklearn.metrics import (
    confusion_matrix,
    fbeta_score,
    precision_score,
    recall_score,
)

import slides
import test_pages
import test_slides
from figures import contrast, luminance
from helpers import interactive
from helpers.data import rater_votes
from teach import CHAPTERS, notebook_of, notes_of

browser = test_pages.browser
TITLE = "A lower threshold finds more, and <more> of it is wrong"
SENTENCE = "Here a figure moves with a slider, in the book and where the notebook runs."
TEN = [0, 3, 8, 15, 16, 25, 31, 42, 48, 50]  # positions: thresholds times 50


def published(monkeypatch, function, *arguments, **options):
    """What a call shows, as the data of an output."""
    found = []
    monkeypatch.setattr(interactive, "publish_display_data", found.append)
    function(*arguments, **options)
    [data] = found
    return data


@pytest.fixture(scope="module")
def votes():
    return rater_votes()


@pytest.fixture(scope="module")
def output(votes):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return published(
            monkeypatch,
            interactive.thresholds,
            votes.share,
            votes.truth,
            title=TITLE,
            score="share of raters who say yes",
        )


@pytest.fixture(scope="module")
def drawn(votes):
    """The picture of each position."""
    found = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(
            interactive,
            "slider",
            lambda draw, positions, **_: found.extend(map(draw, positions)),
        )
        interactive.thresholds(votes.share, votes.truth, title="t", score="s")
    return found


def expected(votes, position):
    """What scikit-learn says, as it is written in the figure."""
    predicted = votes.share >= position / 50
    tn, fp, fn, tp = confusion_matrix(votes.truth, predicted).ravel()
    given = {"y_true": votes.truth, "y_pred": predicted, "zero_division": np.nan}
    precision = precision_score(**given)
    scores = {f"F{beta}": fbeta_score(**given, beta=beta) for beta in (1, 2)}
    return {
        "FN missed": f"{fn}",
        "TP found": f"{tp}",
        "TN left out": f"{tn}",
        "FP let in": f"{fp}",
        "precision": "no" if np.isnan(precision) else f"{precision:.3f}",
        "recall": f"{recall_score(**given):.3f}",
        **{name: f"{score:.3f}" for name, score in scores.items()},
    }


def small(draw=None, **options):
    """A slider over three values, of few words."""
    given = {"start": 2, "title": "t", "label": "x", "say": "Now {}.".format}
    draw = draw or (lambda value: f'<p class="v">{value}</p><input/>')
    interactive.slider(draw, [1, 2, 3], **given | options)


# In Python


def test_it_is_the_same_in_every_run_and_names_no_other(monkeypatch, votes, output):
    """Two figures on a page must not be taken for each other."""
    arguments = votes.share, votes.truth
    names = {"title": TITLE, "score": "share of raters who say yes"}
    again = published(monkeypatch, interactive.thresholds, *arguments, **names)
    other = published(
        monkeypatch, interactive.thresholds, *arguments, **names, start=0.3
    )
    keys = [
        re.search(r'data-slider="(\w+)"', d["text/html"])[1] for d in (again, other)
    ]
    assert again == output
    assert keys[0] != keys[1]


def test_without_scripts_a_sentence_is_left(output):
    left = re.sub(r"(?s)<script>.*?</script>", "", output["text/html"])
    assert re.sub(r"<[^>]+>", "", left).strip() == SENTENCE


def test_no_text_ends_the_script(monkeypatch):
    data = published(monkeypatch, small, say="{}</script>".format)
    assert data["text/html"].count("</script>") == 1


def test_a_terminal_shows_the_numbers_of_the_start(output):
    assert output["text/plain"] == (
        f"{TITLE}\nThreshold 0.50: 167 true positives, 8 false positives, 81 false "
        "negatives; precision 0.954, recall 0.673, F1 0.790, F2 0.716"
    )


def test_it_weighs_little(output):
    assert len(output["text/html"]) < 50_000


def test_only_what_differs_is_in_the_table():
    drawn = [f'<div><p a="1" b="{n}">x</p><p c="3">{n}</p></div>' for n in "12"]
    assert interactive._moves(drawn) == [[2, "b", ["1", "2"]], [3, "", ["1", "2"]]]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"start": 4}, "start must be one of the positions, got 4"),
        ({"draw": lambda value: "<p>1</p>"}, "one <input/>"),
        ({"draw": lambda value: "<input/><input/>"}, "one <input/>"),
        ({"draw": lambda value: "<input/>" + "<p/>" * value}, "the same elements"),
        ({"draw": lambda value: f'<p a{value}=""/><input/>'}, "the same elements"),
        ({"draw": lambda value: f"<input/>{value}"}, "the same elements"),
    ],
)
def test_a_figure_that_cannot_move_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize(
    "scores, targets, message",
    [
        ([0.1, 1.2], [0, 1], "scores must be probabilities from 0 to 1"),
        ([0.1, np.nan], [0, 1], "scores must be probabilities from 0 to 1"),
        ([[0.1, 0.2]], [[0, 1]], "scores must have shape"),
        ([0.1, 0.2], [0, 1, 1], "targets must be"),
        ([0.1, 0.2], [0, 2], "targets must be"),
        ([0.1, 0.2], [1, 1], "both 0 and 1"),
        ([0.1, 0.2], [0, 0], "both 0 and 1"),
    ],
)
def test_scores_and_targets_of_another_kind_are_refused(scores, targets, message):
    with pytest.raises(ValueError, match=message):
        interactive.thresholds(
            np.array(scores), np.array(targets), title="t", score="s"
        )


def test_many_rows_share_a_dot(monkeypatch):
    """As many as it takes for 1,500 dots, and the title says so."""
    scores = np.repeat(np.arange(50) / 50, 100)
    data = published(
        monkeypatch,
        interactive.thresholds,
        scores,
        scores > 0.5,
        title="Many",
        score="score",
    )
    assert data["text/plain"].startswith("Many (a dot stands for 4)\n")
    # 100 rows in 25 dots: more than stand in a column
    length = (interactive.MOST - 0.9) * interactive.PITCH
    assert f"v-{length:.2f}M" in data["text/html"]


def test_a_dot_stands_for_a_question_and_those_predicted_are_large(votes, drawn):
    """Columns of up to 18 dots, of which the window shows those from the threshold."""
    left, right, pitch = interactive.LEFT, interactive.RIGHT, interactive.PITCH
    for position in TEN:
        root = ElementTree.fromstring(drawn[position])
        window = root.find(".//svg/svg")
        above, _, below, _ = window.findall("g/path")
        assert float(window.get("x")) == pytest.approx(
            left + (right - left) * position / 50, abs=0.05
        )
        assert window.get("viewBox").split()[0] == window.get("x")
        for path, truth, up in ((above, 1, -1), (below, 0, 1)):
            share = votes.share[votes.truth == truth]
            counts = np.histogram(share, np.arange(52) / 50)[0]
            columns = re.findall(r"M([\d.]+) \d+v(-?[\d.]+)", path.get("d"))
            columns = np.array(columns, float).T
            places = left + (right - left) * (np.flatnonzero(counts) + 0.5) / 50
            assert columns[0] == pytest.approx(places, abs=0.06)
            dots = np.floor(up * columns[1] / pitch) + 1
            assert dots.tolist() == counts[counts > 0].clip(max=18).tolist()


def test_bars_and_curves_show_the_numbers(votes, drawn):
    wide = interactive.RIGHT - interactive.LEFT
    for position in TEN:
        root = ElementTree.fromstring(drawn[position])
        said = {
            name: float(text)
            for name, text in expected(votes, position).items()
            if text != "no"
        }
        right, wrong, found, missed = (
            float(bar.get("width")) / wide for bar in root.findall(".//div[2]/svg/rect")
        )
        close = {"abs": 0.001}
        assert right == pytest.approx(said.get("precision", 0), **close)
        assert right + wrong == pytest.approx(float("precision" in said), **close)
        assert found == pytest.approx(said["recall"], **close)
        assert found + missed == pytest.approx(1, **close)
        dots, curves = root.findall(".//circle"), root.findall(".//polyline")
        for name, dot, curve in zip(("F1", "F2"), dots, curves):
            assert float(dot.get("cy")) == pytest.approx(
                232 - 108 * said[name], abs=0.11
            )
            place = f"{dot.get('cx')},{dot.get('cy')}"
            assert curve.get("points").split()[position] == place
            assert curve.get("class").split()[1] == dot.get("class")


def test_the_best_thresholds_are_marked(votes, drawn):
    root = ElementTree.fromstring(drawn[0])
    marks = root.findall(".//div[1]/svg/rect")
    said = [text.text for text in root.iter("tspan") if "best" in (text.text or "")]
    for beta, mark, text in zip((1, 2), marks, said, strict=True):
        scores = [
            fbeta_score(votes.truth, votes.share >= step / 50, beta=beta)
            for step in range(51)
        ]
        best = int(np.argmax(scores))
        assert text == f" best {max(scores):.3f} at {best / 50:.2f}"
        assert float(mark.get("x")) + 1.5 == pytest.approx(
            interactive.LEFT + (interactive.RIGHT - interactive.LEFT) * best / 50,
            abs=0.06,
        )


def test_a_start_between_two_positions_is_refused(votes):
    with pytest.raises(ValueError, match="start must be a multiple of 0.02, got 0.31"):
        interactive.thresholds(
            votes.share, votes.truth, title="t", score="s", start=0.31
        )


def test_the_example_in_contributing_runs(monkeypatch):
    text = (slides.ROOT / "CONTRIBUTING.md").read_text("utf-8")
    [example] = re.findall(r"(?s)```python\n(from helpers import style.*?)```", text)
    data = published(monkeypatch, exec, example, {})
    assert data["text/plain"] == "A bar\np is 0.5"


# In a browser


PAGE = """<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Sliders</title><style>
html[data-theme=light] body {{ background: #fff; color: #24292f }}
html[data-theme=dark] body {{ background: #15191b; color: #d8dee0 }}
body {{ font: 17px/1.65 sans-serif; margin: 16px; transition: color 1s }}
svg, input, text {{ display: none; fill: yellow; font-size: 2px }}
</style></head><body><main><h1>Sliders</h1>{}</main></body></html>"""


class Slider(test_pages.Visit):
    """A page whose first figure is the slider over the votes."""

    def __init__(self, browser, path, home=None):
        super().__init__(browser, f"{(home or path.parent).as_uri()}/")
        self.open(path.as_uri())
        self.input = self.tab.locator("input[type=range]").first

    def position(self):
        return int(self.input.input_value())

    def numbers(self):
        """What stands in bold, by the word behind it: {"recall": "0.673", ...}."""
        return self.tab.evaluate("""() => {
            const root = document.querySelector("[data-slider]").shadowRoot;
            return Object.fromEntries([...root.querySelectorAll(".bold")]
                .filter(part => part.textContent)
                .map(part => [part.nextSibling.textContent.trim(), part.textContent]));
        }""")

    def place(self, position):
        """Where on the screen the handle stands in a position."""
        box = self.input.bounding_box()
        across = box["x"] + 13 + (box["width"] - 26) * position / 50
        return across, box["y"] + box["height"] / 2

    def dress(self, scheme):
        """Switch the page's theme, as its button does, and wait until all is faded."""
        self.tab.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
        self.tab.evaluate("document.getAnimations().forEach(a => a.finish())")
        self.tab.wait_for_timeout(50)

    def follow(self, votes, position):
        """It stands there, and shows what scikit-learn says."""
        assert self.position() == position
        assert self.numbers() == expected(votes, position)


@pytest.fixture(scope="module")
def path(tmp_path_factory, output):
    """A page with the slider over the votes, the same again, and one over words."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        words = published(monkeypatch, small)
    path = tmp_path_factory.mktemp("für den Raum") / "page.html"
    figures = [data["text/html"] for data in (output, output, words)]
    path.write_text(PAGE.format("\n".join(figures)), "utf-8")
    return path


@pytest.fixture(scope="module")
def page(browser, path):
    page = Slider(browser, path)
    yield page
    page.context.close()


def test_the_mouse_drags_it(page, votes):
    page.tab.mouse.move(*page.place(25))
    page.tab.mouse.down()
    for position in TEN:
        page.tab.mouse.move(*page.place(position), steps=3)
        page.follow(votes, position)
    page.tab.mouse.up()
    page.tab.mouse.move(*page.place(10))
    assert page.position() == TEN[-1]


def test_a_click_into_the_figure_moves_it(page, votes):
    x, y = page.place(12)
    page.tab.mouse.click(x, y - 60)
    page.follow(votes, 12)


@pytest.mark.parametrize("width", [360, 1280])
def test_the_handle_stands_on_the_line(page, width):
    page.tab.set_viewport_size({"width": width, "height": 900})
    for position in (0, 25, 50):
        page.input.evaluate(MOVE, position)
        line = page.tab.locator(".panel path.rule").first.bounding_box()
        middle = line["x"] + line["width"] / 2
        assert middle == pytest.approx(page.place(position)[0], abs=1)
    page.tab.set_viewport_size({"width": 1280, "height": 900})


def test_the_keyboard_moves_it(page, votes):
    page.input.focus()
    for key, position in [
        *(("Home", 0), ("ArrowRight", 1), ("ArrowUp", 2), ("ArrowLeft", 1)),
        *(("End", 50), ("ArrowDown", 49), ("PageDown", 44), ("PageUp", 49)),
    ]:
        page.tab.keyboard.press(key)
        page.follow(votes, position)


class Finger:
    """A finger on the screen of a page. It is lifted at the end."""

    def __init__(self, page):
        self.devtools = page.context.new_cdp_session(page.tab)

    def __enter__(self):
        self.devtools.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
        return self

    def __exit__(self, *_):
        self.touch("touchEnd")
        self.devtools.send("Emulation.setTouchEmulationEnabled", {"enabled": False})

    def touch(self, kind, *places):
        points = [{"x": x, "y": y} for x, y in places]
        self.devtools.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
        )


def test_a_finger_drags_it(page, votes):
    with Finger(page) as finger:
        finger.touch("touchStart", page.place(page.position()))
        for position in TEN:
            finger.touch("touchMove", page.place(position))
            page.follow(votes, position)


def test_every_position_is_as_python_draws_it(page, drawn):
    """Not a number, but all that moves: the table names the right elements."""
    different = page.tab.evaluate(
        """drawn => {
            const root = document.querySelector("[data-slider]").shadowRoot;
            const input = root.querySelector("input");
            const picture = element => [...element.querySelectorAll("svg")]
                .map(svg => svg.outerHTML.replaceAll(/share of.*?≥/g, "s ≥"));
            return drawn.map((text, at) => {
                input.value = at;
                input.dispatchEvent(new Event("input"));
                const fresh = document.createElement("div");
                fresh.innerHTML = text;
                return String(picture(root)) != String(picture(fresh));
            });
        }""",
        drawn,
    )
    assert different == [False] * 51


def test_the_figures_of_a_page_move_alone(page):
    inputs = page.tab.locator("input")
    before = inputs.nth(0).input_value()
    inputs.nth(2).focus()
    page.tab.keyboard.press("ArrowRight")
    assert page.tab.locator(".v").inner_text() == "3"
    assert [inputs.nth(n).input_value() for n in (0, 2)] == [before, "2"]
    assert inputs.nth(1).input_value() == "25"


def test_it_announces_its_values_and_rests_before_it_says_more(page):
    page.input.focus()
    page.tab.keyboard.press("Home")
    page.tab.wait_for_timeout(900)
    status = page.tab.locator("[role=status]").first
    status.evaluate("""status => {
        window.said = 0;
        new MutationObserver(() => window.said++).observe(status, {childList: true});
    }""")
    for _ in range(16):
        page.tab.keyboard.press("ArrowRight")
        said = status.inner_text()
    assert page.input.get_attribute("aria-valuetext") == "0.32, best F1"
    assert page.input.get_attribute("aria-label") == (
        "threshold on the share of raters who say yes"
    )
    assert "0.32" not in said
    page.tab.wait_for_timeout(900)
    assert page.tab.evaluate("window.said") == 1
    assert status.inner_text().startswith("Threshold 0.32: 200 true positives, 31 ")


TEXTS = """() => [...document.querySelectorAll("[data-slider]")].flatMap(host =>
    [...host.shadowRoot.querySelectorAll("text, .title")].map(text => {
        const scale = (text.ownerSVGElement?.getScreenCTM().a ?? 1);
        const style = getComputedStyle(text), box = text.getBoundingClientRect();
        const ink = text.ownerSVGElement ? style.fill : style.color;
        let behind = host;  // the nearest ground that is not transparent
        while (getComputedStyle(behind).backgroundColor == "rgba(0, 0, 0, 0)")
            behind = behind.parentElement;
        const ground = getComputedStyle(behind).backgroundColor;
        const numbers = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
        return {
            text: text.textContent, pixels: parseFloat(style.fontSize) * scale,
            ink: numbers(ink), ground: numbers(ground),
            left: box.left, right: box.right, top: box.top, bottom: box.bottom,
        };
    }))"""


MOVE = """(input, position) => {
    input.value = position;
    input.dispatchEvent(new Event("input"));
}"""


def faults(texts, width):
    """What is small, faint, outside, or on another."""
    found = []
    for number, text in enumerate(texts):
        ink, ground = (
            luminance([part / 255 for part in text[name]]) for name in ("ink", "ground")
        )
        if text["pixels"] < 11:
            found.append((text["text"], text["pixels"]))
        if contrast(ink, ground) < 4.5:
            found.append((text["text"], contrast(ink, ground)))
        if text["left"] < 0 or text["right"] > width:
            found.append((text["text"], "outside"))
        for other in texts[:number]:
            if (
                min(text["right"], other["right"]) > max(text["left"], other["left"])
                and min(text["bottom"], other["bottom"])
                > max(text["top"], other["top"]) + 3
            ):
                found.append((text["text"], other["text"]))
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1280])
def test_its_text_can_be_read(page, width, scheme):
    page.tab.set_viewport_size({"width": width, "height": 800})
    page.dress(scheme)
    for position in (0, 25, 50):
        page.input.evaluate(MOVE, position)
        texts = page.tab.evaluate(TEXTS)
        assert faults(texts, width) == []
    assert len(texts) > 40
    wide = page.tab.evaluate("document.scrollingElement.scrollWidth")
    page.tab.set_viewport_size({"width": 1280, "height": 900})
    page.dress("light")
    assert wide == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_keeps_the_rules_of_accessibility(page, scheme):
    page.dress(scheme)
    page.tab.evaluate(test_pages.AXE)
    found = page.tab.evaluate("""async () => (await axe.run()).violations.flatMap(
        rule => rule.nodes.map(node => [rule.id, node.html]))""")
    page.dress("light")
    assert found == []


def test_the_focus_is_seen(page):
    page.tab.locator("h1").click()
    x, y = page.place(page.position())
    clip = {"x": x - 40, "y": y - 40, "width": 80, "height": 80}
    before = page.tab.screenshot(clip=clip)
    page.tab.keyboard.press("Tab")
    assert page.input.evaluate("input => input.matches(':focus-visible')")
    assert page.tab.screenshot(clip=clip) != before


def test_it_prints(page):
    page.tab.emulate_media(media="print")
    assert page.tab.locator("svg").first.is_visible()
    assert page.tab.locator("input").first.is_visible()
    page.tab.emulate_media(media="screen")


def test_it_asks_nothing_of_other_hosts_and_raises_no_error(page):
    """After what the tests above did."""
    assert (page.elsewhere, page.errors) == ([], [])


def test_a_browser_without_scripts_shows_the_sentence(browser, path):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(path.as_uri())
    shown = tab.locator("main").inner_text()
    context.close()
    assert shown.count(SENTENCE) == 3
    assert "precision" not in shown


# On slides


@pytest.fixture(scope="module")
def deck(browser, tmp_path_factory, output):
    """Three slides. The figure stands on the second, after a question."""
    notebook, notes = notebook_of(CHAPTERS[0]), notes_of(CHAPTERS[0])
    cell = new_code_cell("# @title x", id="slider", metadata={"tags": ["hide-input"]})
    cell.outputs = [new_output("display_data", data=output)]
    notebook.cells.append(cell)
    ask = (
        "A question of two lines, which is as long as one may be before a figure: why?"
    )
    figure = {"title": "Where?", "ask": ask, "cells": ["slider"], "notes": "."}
    first, last = ({"title": title, "notes": "."} for title in ("First", "Last"))
    notes["slide"] = [first, figure, last]
    path = tmp_path_factory.mktemp("slides") / "deck.html"
    for name, source in slides.BESIDE.items():
        shutil.copytree(slides.ROOT / source, path.parent / name)
    path.write_text(slides.deck(notebook, notes), "utf-8")
    deck = Slider(browser, path)
    deck.tab.set_viewport_size({"width": 1280, "height": 720})
    yield deck
    deck.context.close()


def test_on_a_slide_the_keys_move_it_while_it_has_the_focus(deck, votes):
    here = "Object.values(Reveal.getIndices())"
    deck.tab.evaluate("Reveal.slide(1, 0, 0)")
    deck.input.focus()
    for key, position in [
        ("ArrowRight", 26),
        ("ArrowLeft", 25),
        ("End", 50),
        ("PageDown", 45),
    ]:
        deck.tab.keyboard.press(key)
        assert deck.tab.evaluate(here) == [1, 0, 0]
        deck.follow(votes, position)
    deck.tab.keyboard.press("Space")
    assert deck.tab.evaluate(here)[0] == 2


def test_on_a_slide_a_finger_moves_it_and_not_the_slide(deck, votes):
    deck.tab.evaluate("Reveal.slide(1, 0, 0)")
    with Finger(deck) as finger:
        finger.touch("touchStart", deck.place(45))
        for position in range(44, 9, -1):
            finger.touch("touchMove", deck.place(position))
    deck.follow(votes, 10)
    assert deck.tab.evaluate("Reveal.getIndices().h") == 1


@pytest.mark.parametrize("width, height", [(1280, 720), (1024, 768)])
def test_it_fits_a_slide(deck, width, height):
    deck.tab.set_viewport_size({"width": width, "height": height})
    deck.tab.wait_for_function(
        "scale => Math.abs(Reveal.getScale() - scale) < 0.01", arg=width / 1280
    )
    assert deck.tab.evaluate(test_slides.OVERFLOWS) == []
    deck.tab.evaluate("Reveal.slide(1, 0, 0)")
    texts = deck.tab.evaluate(TEXTS)
    assert faults(texts, width) == []
    panels = deck.tab.locator(".panel")
    assert panels.nth(0).bounding_box()["y"] == panels.nth(1).bounding_box()["y"]


def test_slides_with_it_ask_nothing_of_other_hosts_and_raise_no_error(deck):
    assert (deck.elsewhere, deck.errors) == ([], [])


# In the book


CHAPTER = "book/label_sets.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_moves_and_can_be_read_in_its_chapter(browser, site, votes, width, scheme):
    page = Slider(browser, site / CHAPTER, home=site)
    page.tab.set_viewport_size({"width": width, "height": 900})
    page.switch(scheme)
    page.input.scroll_into_view_if_needed()
    page.tab.mouse.move(*page.place(25))
    page.tab.mouse.down()
    page.tab.mouse.move(*page.place(16), steps=3)
    page.tab.mouse.up()
    page.follow(votes, 16)
    texts = page.tab.evaluate(TEXTS)
    page.context.close()
    assert faults(texts, width) == []
    assert (page.elsewhere, page.errors) == ([], [])
