"""Look at the text of figures: can it be read, on a phone, and is none on another?

`tools/kernels.py` watches every figure that a notebook shows.
"""

import io

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

SMALLEST = 11  # points: 10 pixels on a phone of 375, at the width of helpers.style
WIDEST = 4.6  # inches
CONTRAST = 4.5
TOUCH = 1.0  # pixels that two boxes may share, at the dpi of a screen


def luminance(rgb):
    """Relative luminance as in WCAG 2.1, of colours (..., 3) from 0 to 1."""
    rgb = np.asarray(rgb, dtype=float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    """The contrast ratio of WCAG 2.1, from 1 to 21."""
    light, dark = max(one, other), min(one, other)
    return (light + 0.05) / (dark + 0.05)


def texts_of(figure):
    """The texts that a reader sees."""
    figure.canvas.draw()
    hidden = set()
    for axes in figure.axes:
        if not axes.axison:
            hidden |= set(map(id, axes.xaxis.findobj(Text)))
            hidden |= set(map(id, axes.yaxis.findobj(Text)))
        for axis in (axes.xaxis, axes.yaxis):
            # Beyond the limits, a tick's label is not drawn.
            shown = {id(t) for tick in axis._update_ticks() for t in tick.findobj(Text)}
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            every = {id(text) for tick in ticks for text in tick.findobj(Text)}
            hidden |= every - shown
    return [
        text
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and id(text) not in hidden
    ]


def ground(figure, texts):
    """The figure without these texts, as luminances (height, width)."""
    alphas = [text.get_alpha() for text in texts]
    for text in texts:
        text.set_alpha(0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi, bbox_inches=None)
    for text, alpha in zip(texts, alphas):
        text.set_alpha(alpha)
    return luminance(np.asarray(Image.open(buffer).convert("RGB")) / 255)


def faults(figure):
    """What is wrong with the text of a figure: a list of sentences."""
    texts = texts_of(figure)
    boxes = [text.get_window_extent() for text in texts]
    under = ground(figure, texts)
    height, width = under.shape
    found = []
    if figure.get_figwidth() > WIDEST:
        found.append(f"{figure.get_figwidth()} inches are too wide: a phone shrinks it")
    for number, (text, box) in enumerate(zip(texts, boxes)):
        said = repr(text.get_text())
        if text.get_fontsize() < SMALLEST:
            found.append(f"{said} has {text.get_fontsize()} points of {SMALLEST}")
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            found.append(f"{said} leaves the figure")
            continue
        left, right = int(box.x0), int(np.ceil(box.x1))
        top, bottom = int(height - box.y1), int(np.ceil(height - box.y0))
        below = np.median(under[max(top, 0) : bottom, max(left, 0) : right])
        ratio = contrast(luminance(to_rgb(text.get_color())), below)
        if ratio < CONTRAST:
            found.append(f"{said} has a contrast of {ratio:.1f}")
        for other, beside in zip(texts[:number], boxes):
            across = min(box.x1, beside.x1) - max(box.x0, beside.x0)
            along = min(box.y1, beside.y1) - max(box.y0, beside.y0)
            if min(across, along) > TOUCH * figure.dpi / 100:
                found.append(f"{said} lies on {other.get_text()!r}")
    return found
