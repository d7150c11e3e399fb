from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from colorspacious import cspace_convert
from matplotlib.colors import to_rgb

from helpers import style

COLOURS = np.array([to_rgb(colour) for colour in style.PALETTE])
VISION = {"normal": None} | {
    kind: {"name": "sRGB1+CVD", "cvd_type": kind, "severity": 100}
    for kind in ("deuteranomaly", "protanomaly", "tritanomaly")
}


def contrast_with_white(colour):
    """The contrast ratio of WCAG 2.1."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)


def test_contrast_is_measured_right():
    assert contrast_with_white("white") == pytest.approx(1) and contrast_with_white(
        "black"
    ) == pytest.approx(21)
    assert contrast_with_white("#767676") == pytest.approx(
        4.54, abs=0.005
    )  # the example that everybody quotes


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
