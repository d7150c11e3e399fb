"""The look of the figures: one palette, one size, titles that state a finding.

The palette was searched for: every two colours differ by at least 9 in lightness L*, so
they survive greyscale, and by at least 10 in CAM02-UCS for full deuteranopia,
protanopia and tritanopia; each has a contrast of at least 3:1 with a white page.
`tests/test_style.py` measures it.
"""

import matplotlib.pyplot as plt

TEAL, ORANGE, VIOLET, GREEN, RED, INDIGO = (
    "#1a5959",
    "#e34321",
    "#9739c1",
    "#38a58d",
    "#770d17",
    "#41015c",
)
PALETTE = [TEAL, ORANGE, VIOLET, GREEN, RED, INDIGO]
GREY = "#757575"  # for what stands back: reference lines, notes

WIDTH = 6.2  # inches: fills the book's column; on a phone its text is small


def use() -> None:
    """Set the book's figure style for this notebook.

    Call it once, before the first figure.
    """
    plt.rcParams.update(
        {
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.prop_cycle": plt.cycler(color=PALETTE),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlepad": 12,
            "axes.titlesize": 12,
            "figure.dpi": 140,
            "figure.figsize": (WIDTH, 3.4),
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "lines.linewidth": 2,
        }
    )
