"""What is wrong with the text of a figure must be found, and nothing else."""

import matplotlib.pyplot as plt
import pytest

from figures import SMALLEST, WIDEST, contrast, faults, luminance
from helpers import style


def test_contrast_is_measured_right():
    white, black = luminance([1, 1, 1]), luminance([0, 0, 0])
    assert contrast(white, black) == pytest.approx(21) == contrast(black, white)
    assert contrast(white, white) == pytest.approx(1)
    grey = luminance([0x76 / 255] * 3)  # the example that everybody quotes
    assert contrast(white, grey) == pytest.approx(4.54, abs=0.005)


@pytest.fixture
def axes():
    with plt.rc_context():
        style.use()
        _, axes = plt.subplots()
        axes.plot([0, 1], [0, 1])
        yield axes
        plt.close("all")


def test_nothing_is_found_in_a_sound_figure(axes):
    axes.set(xlabel="x", ylabel="y", title="A finding")
    axes.text(0.1, 0.8, "a note", color=style.GREY)
    assert faults(axes.figure) == []


def test_the_book_has_the_smallest_text_that_a_phone_can_show():
    """10 pixels, where the figure is 319 pixels wide, with the room around it."""
    assert style.SIZE == SMALLEST and style.WIDTH == WIDEST
    assert SMALLEST / 72 * 319 / (WIDEST + 0.2) >= 10


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda a: a.text(0.1, 0.8, "note", fontsize=9), "'note' has 9.0 points of 11"),
        (lambda a: a.tick_params(labelsize=8), "'0.0' has 8.0 points of 11"),
        (lambda a: a.text(0.1, 0.8, "note", color="#e34321"), "'note' has a contrast"),
        (lambda a: a.text(0.1, 0.8, "note", color="#38a58d"), "contrast of 3.0"),
        (lambda a: a.figure.text(0.95, 0.5, "too long"), "'too long' leaves"),
        (lambda a: a.figure.text(-0.1, 0.5, "note"), "'note' leaves the fig"),
        (
            lambda a: (a.text(0.1, 0.8, "one"), a.text(0.12, 0.81, "two")),
            "'two' lies on 'one'",
        ),
        (lambda a: a.set_xticks([0, 0.01], ["none", "few"]), "'few' lies on 'none'"),
        (lambda a: a.figure.set_figwidth(6.2), "6.2 inches are too wide"),
        (
            lambda a: (a.axvspan(0, 1, color="black"), a.text(0.3, 0.8, "dark on it")),
            "'dark on it' has a contrast of 1.0",
        ),
    ],
)
def test_a_fault_is_found(axes, break_it, message):
    break_it(axes)
    assert message in "; ".join(faults(axes.figure))


def test_white_text_on_a_dark_bar_is_readable(axes):
    axes.axvspan(0, 1, color="black")
    axes.text(0.3, 0.8, "light on it", color="white")
    assert faults(axes.figure) == []


def test_text_that_is_not_drawn_is_no_fault(axes):
    axes.text(0.4, 0.8, "one")
    axes.text(0.4, 0.8, "two", visible=False)
    axes.set_xlim(0.2, 0.8)  # ticks beyond the limits
    assert faults(axes.figure) == []
    axes.axis("off")
    assert faults(axes.figure) == []


def test_looking_changes_nothing(axes):
    text = axes.text(0.1, 0.8, "a note", alpha=0.9)
    faults(axes.figure)
    assert text.get_alpha() == 0.9 and axes.title.get_alpha() is None
