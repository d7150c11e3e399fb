from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from colorspacious import cspace_convert
from matplotlib.colors import rgb_to_hsv, to_rgb

from figures import contrast, faults, luminance
from helpers import style
from helpers.seeds import experiment
from helpers.stats import over_seeds

COLOURS = np.array([to_rgb(colour) for colour in style.PALETTE])
VISION = {"normal": None} | {
    kind: {"name": "sRGB1+CVD", "cvd_type": kind, "severity": 100}
    for kind in ("deuteranomaly", "protanomaly", "tritanomaly")
}


def contrast_with_white(colour):
    return contrast(luminance(to_rgb("white")), luminance(to_rgb(colour)))


def test_at_most_six_colours():
    assert len(set(style.PALETTE)) == len(style.PALETTE) <= 6


def test_the_palette_survives_greyscale():
    lightness = np.sort(cspace_convert(COLOURS, "sRGB1", "CIELab")[:, 0])
    assert np.diff(lightness).min() >= 9


@pytest.mark.parametrize("vision", VISION)
def test_the_palette_for_every_kind_of_vision(vision):
    seen = (
        COLOURS
        if VISION[vision] is None
        else np.clip(cspace_convert(COLOURS, VISION[vision], "sRGB1"), 0, 1)
    )
    places = cspace_convert(seen, "sRGB1", "CAM02-UCS")
    assert min(np.linalg.norm(a - b) for a, b in combinations(places, 2)) >= 10


def test_contrast_with_the_page():
    assert min(map(contrast_with_white, [*style.PALETTE, style.GREY])) >= 3
    assert contrast_with_white(style.GREY) >= 4.5  # notes are text


def test_ink_is_readable_and_of_the_same_colour():
    for colour in [*style.PALETTE, style.GREY]:
        assert contrast_with_white(style.ink(colour)) >= 4.5
        hue, other = (rgb_to_hsv(to_rgb(c))[0] for c in (colour, style.ink(colour)))
        assert hue == pytest.approx(other, abs=0.02)


RESULTS = experiment(
    {"plain": 1.0, "a rather long name that is wrapped": 1.05, "third": 3.0},
    lambda shift, seeds, rate: {"score": [shift + rate + 0.1 * s for s in seeds]},
    seeds=range(5),
    rate=[0.1, 1.0, 10.0],
)


@pytest.fixture
def drawn():
    with plt.rc_context():
        style.use()
        yield plt.figure()
        plt.close("all")


def test_dots_show_means_and_the_intervals_of_the_book(drawn):
    ax = style.dots(RESULTS[RESULTS.rate == 0.1], "score")
    expected = over_seeds(RESULTS[RESULTS.rate == 0.1]).score
    found = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    assert np.allclose(found, [(mean.low, mean.high) for mean in expected])
    assert ax.get_yticklabels()[1].get_text() == "a rather long name\nthat is wrapped"
    style.finish(ax, "A finding", xlabel="score")
    assert faults(drawn) == []
    assert drawn.get_suptitle() == "A finding" and ax.get_xlabel() == "score"


def test_dots_of_two_kinds_have_a_key(drawn):
    ax = style.dots(RESULTS[RESULTS.rate < 5], "score", hue="rate")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0.1", "1.0"]
    colours = [text.get_color() for text in ax.get_legend().get_texts()]
    assert colours == [style.ink(colour) for colour in style.PALETTE[:2]]
    assert faults(drawn) == []


@pytest.mark.parametrize("labels", [True, False])
def test_lines_have_names_that_do_not_touch(drawn, labels):
    ax = style.lines(RESULTS, "rate", "score", log=True, labels=labels)
    style.finish(ax, "A finding about three methods, whatever their rate", ylabel="y")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.1", "1", "10"]
    assert (ax.get_legend() is None) == labels
    said = {text.get_text() for text in ax.texts}
    names = {"plain", "a rather long name\nthat is wrapped", "third"}
    assert said == (names if labels else set())
    problems = faults(drawn)
    # Three names in a row above are too wide, and that is seen.
    if labels:
        assert problems == []
    else:
        assert any("leaves" in said for said in problems)


def test_lines_show_the_means_of_the_book(drawn):
    ax = style.lines(RESULTS, "rate", "score")
    means = over_seeds(RESULTS, ["method", "rate"]).score.map(lambda mean: mean.value)
    for line, (_, expected) in zip(ax.lines, means.groupby(level=0, sort=False)):
        assert np.allclose(line.get_ydata(), expected)


def test_a_note_is_written_in_ink(drawn):
    ax = plt.gca()
    style.note(ax, 0.5, 0.5, "here", style.ORANGE, ha="center")
    assert ax.texts[0].get_color() == style.ink(style.ORANGE) != style.ORANGE


def test_use():
    with plt.rc_context():
        plt.rcdefaults()
        style.use()
        fig, ax = plt.subplots()
        lines = [ax.plot([0, 1])[0] for _ in style.PALETTE]
        assert [line.get_color() for line in lines] == style.PALETTE
        assert fig.get_figwidth() == style.WIDTH and fig.get_layout_engine() is not None
        assert ax.get_axisbelow() is True
        assert [
            ax.spines[side].get_visible() for side in ("left", "bottom", "right", "top")
        ] == [True, True, False, False]
        assert (
            ax.set_title("A finding") is not None
            and ax.get_title(loc="left") == "A finding"
        )
        plt.close(fig)
