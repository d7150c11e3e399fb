"""The look of the figures: one palette, one size, and what several chapters draw.

The palette was searched for: every two colours differ by at least 9 in lightness L*, so
they survive greyscale, and by at least 10 in CAM02-UCS for full deuteranopia,
protanopia and tritanopia; each has a contrast of at least 3:1 with a white page, and
its `ink`, for text, of 4.5:1. `tests/test_style.py` measures it.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import get_ipython
from matplotlib_inline.backend_inline import set_matplotlib_formats

from helpers.stats import over_seeds

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
DARKER = {ORANGE: "#d13312", GREEN: "#227f6a"}

# Inches and points: on a phone the smallest text has 10 pixels, and on a wide page,
# where the style sheet shows figures at 34rem, it is as large as the text around it.
WIDTH, SIZE = 4.6, 11


def use() -> None:
    """Set the book's figure style for this notebook.

    Call it once, before the first figure.
    """
    if get_ipython():  # twice as fine as it is shown: for slides and good screens
        set_matplotlib_formats("retina")
    plt.rcParams.update(
        {
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.labelsize": SIZE,
            "axes.prop_cycle": plt.cycler(color=PALETTE),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": SIZE,
            "figure.constrained_layout.use": True,
            "figure.dpi": 150,
            "figure.figsize": (WIDTH, 3),
            "figure.titlesize": 12,
            "figure.titleweight": "bold",
            "font.size": SIZE,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.6,
            "legend.fontsize": SIZE,
            "legend.frameon": False,
            "lines.linewidth": 2,
            "xtick.labelsize": SIZE,
            "ytick.labelsize": SIZE,
        }
    )


def ink(colour: str) -> str:
    """The colour in which text has the contrast of 4.5:1 that it needs on white."""
    return DARKER.get(colour, colour)


def interval(values) -> tuple[float, float]:
    """The ends of `stats.over_seeds`, as seaborn's `errorbar` wants them."""
    mean = over_seeds(values)
    return mean.low, mean.high


def dots(frame, x, y="method", hue=None, ax=None, **options):
    """A dot with its 95 % interval over seeds for each `y` of a tidy frame.

    x, y, hue: names of columns. With a `hue`, its values stand in a row above. Further
    options go to `seaborn.pointplot`. Returns the axes.
    """
    ax = sns.pointplot(
        frame,
        x=x,
        y=y,
        hue=hue,
        palette=None if hue is None else PALETTE[: frame[hue].nunique()],
        color=TEAL if hue is None else None,
        dodge=False if hue is None else 0.4,
        errorbar=interval,
        linestyle="none",
        markersize=6,
        err_kws={"linewidth": 2},
        ax=ax or plt.gca(),
        **options,
    )
    names = [textwrap.fill(tick.get_text(), 22) for tick in ax.get_yticklabels()]
    ax.set_yticks(ax.get_yticks(), names)
    ax.grid(axis="y", visible=False)
    ax.set(ylabel="")
    if hue is not None:
        key(ax)
    return ax


def lines(frame, x, y, hue="method", ax=None, labels=True, log=False, **options):
    """A line with its 95 % interval over seeds for each `hue` of a tidy frame.

    x: the column of the knob, whose values become the ticks; y: that of the score.
    labels: write each line's name at its right end, in its colour (else in a row
    above). log: of the x axis. Further options go to `seaborn.lineplot`. Returns the
    axes.
    """
    names = list(frame[hue].unique())
    ax = sns.lineplot(
        frame,
        x=x,
        y=y,
        hue=hue,
        palette=PALETTE[: len(names)],
        errorbar=interval,
        marker="o",
        ax=ax or plt.gca(),
        **options,
    )
    if log:
        ax.set_xscale("log")
    knob = sorted(frame[x].unique())
    ax.set_xticks(knob, [f"{value:,g}" for value in knob])
    ax.set_xticks([], minor=True)
    if not labels:
        key(ax)
        return ax
    ax.get_legend().remove()
    last = frame[frame[x] == frame[x].max()].groupby(hue, sort=False)[y].mean()
    ends(ax, frame[x].max(), [last[name] for name in names], names)
    return ax


def ends(ax, x, heights, names, colours=PALETTE) -> None:
    """Write `names` to the right of (x, heights), in colour.

    `finish` moves them apart, when all else has its place.
    """
    for height, name, colour in zip(heights, names, colours):
        ax.annotate(
            textwrap.fill(str(name), 18),
            (x, height),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=ink(colour),
            annotation_clip=False,
            gid="end",
        )


def _spread(ax):
    """Neighbours among the names at the ends of lines push each other away."""
    ends = [text for text in ax.texts if text.get_gid() == "end"]
    if not ends:
        return
    ax.figure.canvas.draw()
    wanted = np.array([ax.transData.transform(end.xy)[1] for end in ends])
    order = wanted.argsort()
    placed = wanted[order]
    tall = np.array([1 + ends[number].get_text().count("\n") for number in order])
    apart = (tall[1:] + tall[:-1]) / 2 * 1.3 * SIZE * ax.figure.dpi / 72
    for _ in range(100):
        push = np.clip(apart - np.diff(placed), 0, None) / 2
        placed = placed - np.append(push, 0) + np.append(0, push)
    for number, pixels in zip(order, placed):
        ends[number].xyann = (7, (pixels - wanted[number]) * 72 / ax.figure.dpi)


def key(ax) -> None:
    """The legend as a row of coloured words above the axes."""
    handles, names = ax.get_legend_handles_labels()
    legend = ax.legend(
        handles,
        names,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1),
        ncols=len(names),
        borderpad=0,
        columnspacing=1.2,
        handlelength=1,
        handletextpad=0.4,
    )
    for handle, text in zip(handles, legend.get_texts()):
        text.set_color(ink(handle.get_color()))


def note(ax, x, y, text, colour=GREY, **options) -> None:
    """Write `text` at (x, y) in the units of the axes' data, in readable ink."""
    ax.text(x, y, text, color=ink(colour), **options)


def finish(ax, title, **settings) -> None:
    """Give the figure its title, which states the finding, and show it.

    settings: of the axes, as for `ax.set`, such as xlabel and ylim.
    """
    ax.set(**settings)
    ax.figure.suptitle(textwrap.fill(title, 42), x=0.01, ha="left")
    for each in ax.figure.axes:
        _spread(each)
    plt.show()
