"""Interactive figures: a slider that moves a picture and its numbers.

Python draws the figure once for each position of the slider. What differs between them
becomes a table, and a few lines of JavaScript look up in it: neither a kernel nor a
network is asked, and every number is Python's own. The output is `text/html`, the same
in every run. Its script builds it in a shadow root, where no style sheet of a page or a
notebook reaches it. Where scripts are taken out, a sentence is left.
See the chapter "Thresholds: from probabilities to a set of labels".
"""

import hashlib
import json
from html import escape
from xml.etree import ElementTree

import numpy as np
from IPython.display import publish_display_data

from helpers.checks import check_scores, check_targets
from helpers.decide import f_beta
from helpers.style import INDIGO, ORANGE, PALETTE, TEAL, VIOLET, ink

# The palette on a dark page, as text of a contrast of 4.5 and more.
DARK = "#6cc5bd", "#ff8f6e", "#e795f2", "#7fdcc2", "#f0a0a0", "#9fb0ff"

CSS = """
.figure { font-variant-numeric: tabular-nums; line-height: 1.4; max-width: 60em;
  position: relative; }
.title { font-weight: 700; margin: 0 0 .6em; }
.panels { display: grid; gap: 1em 2em;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }
.panel { max-width: 34rem; position: relative; }
.said { clip-path: inset(50%); height: 1px; margin: 0; overflow: hidden;
  position: absolute; white-space: nowrap; width: 1px; }
svg { display: block; fill: currentColor; font-size: 12px; width: 100%; }
.line { fill: none; stroke: currentColor; stroke-linecap: round; stroke-width: 2; }
.rule { stroke: currentColor; stroke-width: 1.5; }
.grid { opacity: .25; stroke: currentColor; }
.bold { font-weight: 700; }
.dots { fill: none; stroke: currentColor; stroke-dasharray: 0 5.4;
  stroke-linecap: round; stroke-width: 2.4; }
.large .dots { stroke-width: 5; }
.dots.more { stroke-dasharray: 0 3; stroke-width: 1.4; }
.track { position: absolute; }
input { appearance: none; background: none; color: inherit; cursor: ew-resize;
  display: block; height: 100%; margin: 0; max-width: 34rem; min-height: 26px;
  outline: none; touch-action: pan-y; width: 100%; }
input::-webkit-slider-runnable-track { background: #8886; border-radius: 2px;
  height: 4px; }
input::-moz-range-track { background: #8886; border-radius: 2px; height: 4px; }
input::-webkit-slider-thumb { appearance: none; background: currentColor;
  border-radius: 50%; height: 26px; margin-top: -11px; width: 26px; }
input::-moz-range-thumb { background: currentColor; border: 0; border-radius: 50%;
  height: 26px; width: 26px; }
input:focus-visible::-webkit-slider-thumb { outline: 3px solid; outline-offset: 3px; }
input:focus-visible::-moz-range-thumb { outline: 3px solid; outline-offset: 3px; }
"""

# Light text means a dark page, in the book as in any notebook. Keys that move the
# slider are kept from what is around it, such as slides.
SCRIPT = """(key, html, moves, values, said) => {
  for (const host of document.querySelectorAll(`[data-slider="${key}"]`)) {
    if (host.shadowRoot) continue;
    host.attachShadow({mode: "open"}).innerHTML = html;
    const figure = host.shadowRoot.querySelector(".figure");
    const parts = figure.querySelectorAll("*");
    const input = figure.querySelector("input");
    const status = figure.querySelector("[role=status]");
    let rest;
    input.addEventListener("input", () => {
      const at = input.valueAsNumber;
      for (const [part, name, texts] of moves) {
        if (name) parts[part].setAttribute(name, texts[at]);
        else parts[part].textContent = texts[at];
      }
      input.setAttribute("aria-valuetext", values[at]);
      clearTimeout(rest);
      rest = setTimeout(() => { status.textContent = said[at]; }, 700);
    });
    input.addEventListener("keydown", event => {
      if (/^(Arrow|Home|End|Page)/.test(event.key)) event.stopPropagation();
    });
    const dress = () => {
      const [red, green, blue] = getComputedStyle(host).color.match(/[\\d.]+/g);
      figure.toggleAttribute("data-dark", +red + +green + +blue > 384);
    };
    dress();
    for (const element of [document.documentElement, document.body])
      new MutationObserver(dress).observe(element, {attributes: true});
    document.addEventListener("transitionend", dress);
  }
}"""


def slider(draw, positions, *, start, title, label, say, form="{:.2f}".format) -> None:
    """Show a figure that a slider moves.

    draw: called with each of the `positions`, returns its picture: well-formed HTML
    with one `<input/>`, where the slider stands, and the same elements each time, of
    which the texts and attributes may differ. start: the position that is shown first.
    title: states the finding. label: what one sets, say: a function that returns a
    sentence for a position, and form: one that returns the position in words, all three
    for screen readers.
    Raises ValueError for a `start` that is no position, and where `draw` returns not
    one input, or other elements, or other text beside elements.
    """
    positions = list(positions)
    if start not in positions:
        raise ValueError(f"start must be one of the positions, got {start}")
    at = positions.index(start)
    drawn = [f"<div>{draw(position)}</div>" for position in positions]
    values, said = [[f(p) for p in positions] for f in (form, say)]
    if drawn[at].count("<input/>") != 1:
        raise ValueError("draw must return HTML with one <input/>")
    control = (
        f'<input type="range" max="{len(positions) - 1}" value="{at}" '
        f'aria-label="{escape(label)}" aria-valuetext="{escape(values[at])}"/>'
    )
    colours = "".join(
        f".c{number} {{ color: {ink(light)}; }} [data-dark] .c{number} "
        f"{{ color: {dark}; }}\n"
        for number, (light, dark) in enumerate(zip(PALETTE, DARK))
    )
    html = (
        f'<style>{CSS}{colours}</style><div class="figure" role="group" '
        f'aria-label="{escape(title)}"><p class="title">{escape(title)}</p>'
        f"{drawn[at].replace('<input/>', control)}"
        f'<p class="said" role="status">{escape(said[at])}</p></div>'
    )
    table = json.dumps([html, _moves(drawn), values, said], separators=(",", ":"))
    table = table.replace("</", "<\\/")  # else it would end the script
    key = hashlib.sha256(table.encode()).hexdigest()[:12]
    left = "Here a figure moves with a slider, in the book and where the notebook runs."
    shown = (
        f'<div data-slider="{key}" data-prevent-swipe><p><em>{left}</em></p></div>\n'
        f'<script>({SCRIPT})("{key}",...{table})</script>'
    )
    plain = f"{title}\n{said[at]}"
    publish_display_data({"text/html": shown, "text/plain": plain})


def _moves(drawn):
    """What differs: [number of the element, attribute or "" for its text, values]."""
    trees = [list(ElementTree.fromstring(text).iter()) for text in drawn]
    if len({tuple((e.tag, *e.attrib, e.tail) for e in tree) for tree in trees}) > 1:
        raise ValueError("draw must return the same elements for every position")
    moves = []
    for number, same in enumerate(zip(*trees), start=1):  # the title is before them
        for name in ["", *same[0].attrib]:
            texts = [e.get(name) if name else e.text or "" for e in same]
            if len(set(texts)) > 1:
                moves.append([number, name, texts])
    return moves


def paint(colour) -> str:
    """The class of what has a colour of the palette, lighter on a dark page."""
    return f"c{PALETTE.index(colour)}"


def words(x, y, text, style="", anchor="start", bold="") -> str:
    """Text in an SVG, after a part in bold. style: see `paint`."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">'
        f'<tspan class="bold">{bold}</tspan><tspan> {escape(text)}</tspan></text>'
    )


def bar(x, y, width, height, style="") -> str:
    """A bar in an SVG, from its upper left corner."""
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" '
        f'class="{style}"/>'
    )


def curve(x, y, style="") -> str:
    """A line through points in an SVG."""
    points = " ".join(f"{across:.1f},{down:.1f}" for across, down in zip(x, y))
    return f'<polyline points="{points}" class="line {style}"/>'


def panel(width, height, *parts, below="") -> str:
    """An SVG of this many units, beside others where there is room.

    12 units, the size of text, have 11 pixels on a phone if it is 330 units wide.
    """
    return (
        f'<div class="panel"><svg viewBox="0 0 {width} {height}" aria-hidden="true">'
        f"{''.join(parts)}</svg>{below}</div>"
    )


# The slider over a threshold, in units of its two panels
WIDE, TALL, LEFT, RIGHT, MIDDLE = 330, 270, 13, 317, 165
STEPS = 50  # thresholds from 0 to 1
PITCH, MOST = 5.4, 18  # of the dots in a column
TRACK = (
    f'<div class="track" style="left:calc({LEFT / WIDE:.3%} - 13px);top:0;'
    f'width:calc({(RIGHT - LEFT) / WIDE:.3%} + 26px);height:{220 / TALL:.3%}">'
    "<input/></div>"
)


def thresholds(scores, targets, *, title, score, start=0.5) -> None:
    """A slider over the threshold: what is found, what is missed, and what F says.

    Above the slider stand the true ones, a dot each, and below it the others, by their
    score; those predicted (score >= threshold) are large. Beside them stand precision,
    recall, F1 and F2. scores: (N,) float, from 0 to 1. targets: (N,) of 0 and 1.
    title: states the finding. score: what the scores are. start: a multiple of 0.02.
    Where there are more than 1,500 rows, several share a dot, and the title says so.
    Raises ValueError for other shapes or values, and for targets of one kind.
    """
    scores = check_scores("scores", np.asarray(scores)[:, None], 0, 1)[:, 0]
    true = check_targets(np.asarray(targets)[:, None], (len(scores), 1))[:, 0]
    if true.all() or not true.any():
        raise ValueError("targets must hold both 0 and 1")
    grid = np.arange(STEPS + 1) / STEPS
    if start not in grid:
        raise ValueError(f"start must be a multiple of {1 / STEPS}, got {start}")
    predicted = scores >= grid[:, None]
    tp, fp = (predicted & true).sum(1), (predicted & ~true).sum(1)
    positives, negatives = true.sum(), (~true).sum()
    f1, f2 = (f_beta(tp, positives, tp + fp, beta) for beta in (1, 2))

    share = -(-len(true) // 1500)  # so many rows are one dot
    if share > 1:
        title += f" (a dot stands for {share})"
    x, to = LEFT + (RIGHT - LEFT) * grid, RIGHT - LEFT
    teal, orange = paint(TEAL), paint(ORANGE)
    bins = np.append(grid, 1 + 1 / STEPS)
    above, below = (
        -(-np.histogram(scores[kind], bins)[0] // share) for kind in (true, ~true)
    )
    dots = _dots(x, above, 94, -1, teal) + _dots(x, below, 126, 1, orange)
    fs = ("F1", f1, paint(VIOLET), 80), ("F2", f2, paint(INDIGO), 96)
    marks, curves = (
        [],
        [
            f'<path d="M{LEFT} 124H{RIGHT}M{LEFT} 178H{RIGHT}" class="grid"/>',
            f'<path d="M{LEFT} 232H{RIGHT}" class="rule"/>',
            words(LEFT - 3, 128, "1", "", "end"),
            words(LEFT - 3, 236, "0", "", "end"),
            # Where precision is above recall, F1 is above F2.
            words(x[38] + 5, 227 - 108 * f1[38], "F1", paint(VIOLET)),
            words(x[38] - 5, 245 - 108 * f2[38], "F2", paint(INDIGO), "end"),
        ],
    )
    for _, f, style, y in fs:
        best = f.argmax()
        said = f"best {f[best]:.3f} at {grid[best]:.2f}"
        curves += [curve(x, 232 - 108 * f, style), words(RIGHT, y, said, style, "end")]
        marks.append(bar(x[best] - 1.5, 103, 3, 14, style))

    def draw(at):
        here, found, wrong = x[at], tp[at], fp[at]
        chosen, precision = found + wrong, found / max(found + wrong, 1)
        recall = found / positives
        questions = panel(
            WIDE,
            TALL,
            words(LEFT, 12, "FN missed", teal, bold=positives - found),
            words(MIDDLE, 12, f"{positives} true", teal, "middle"),
            words(RIGHT, 12, "TP found", teal, "end", found),
            words(LEFT, 248, "TN left out", orange, bold=negatives - wrong),
            words(MIDDLE, 248, f"{negatives} not true", orange, "middle"),
            words(RIGHT, 248, "FP let in", orange, "end", wrong),
            words(LEFT, 266, "0"),
            words(MIDDLE, 266, f"{score} ≥ {grid[at]:.2f}", "", "middle"),
            words(RIGHT, 266, "1", "", "end"),
            *marks,
            f'{dots}<path d="M{here:.1f} 20V232" class="rule"/>',
            # Arrows beside the handle
            f'<path d="M{here - 22:.1f} 105v10l-6-5zm44 0v10l6-5z"/>',
            # A window in the picture shows what is on the right of the threshold.
            f'<svg x="{here:.1f}" width="{WIDE}" height="{TALL}" viewBox="{here:.1f} '
            f'0 {WIDE} {TALL}"><g class="large">{dots}</g></svg>',
            below=TRACK,
        )
        numbers = panel(
            WIDE,
            TALL,
            words(LEFT, 12, "precision", bold=f"{precision:.3f}" if chosen else "no"),
            words(RIGHT, 12, f"{found} of {chosen} predicted", anchor="end"),
            bar(LEFT, 18, to * precision, 8, teal),
            bar(LEFT + to * precision, 18, to * wrong / max(chosen, 1), 8, orange),
            words(LEFT, 44, "recall", bold=f"{recall:.3f}"),
            words(RIGHT, 44, f"{found} of {positives} true", anchor="end"),
            bar(LEFT, 50, to * recall, 8, teal),
            bar(LEFT + to * recall, 53, to * (1 - recall), 2, teal),
            words(MIDDLE, 248, f"threshold {grid[at]:.2f}", "", "middle"),
            *curves,
            f'<path d="M{here:.1f} 112V232" class="rule"/>',
            *(words(LEFT, y, name, of, bold=f"{f[at]:.3f}") for name, f, of, y in fs),
            *(
                f'<circle cx="{here:.1f}" cy="{232 - 108 * f[at]:.1f}" r="5" '
                f'class="{style}"/>'
                for _, f, style, _ in fs
            ),
        )
        return f'<div class="panels">{questions}{numbers}</div>'

    def read_out(at):
        best = [f"best {name}" for name, f, *_ in fs if at == f.argmax()]
        return ", ".join([f"{grid[at]:.2f}", *best])

    def say(at):
        chosen = tp[at] + fp[at]
        precision = f"{tp[at] / chosen:.3f}" if chosen else "undefined"
        return (
            f"Threshold {grid[at]:.2f}: {tp[at]} true positives, {fp[at]} false "
            f"positives, {positives - tp[at]} false negatives; precision {precision}, "
            f"recall {tp[at] / positives:.3f}, F1 {f1[at]:.3f}, F2 {f2[at]:.3f}"
        )

    slider(
        draw,
        range(STEPS + 1),
        start=grid.tolist().index(start),
        title=title,
        label=f"threshold on the {score}",
        say=say,
        form=read_out,
    )


def _dots(x, counts, foot, up, style):
    """Columns of dots: a dash of no length with round ends is a dot."""
    full, more = "", ""
    for place, count in zip(x + (x[1] - x[0]) / 2, counts):
        if count:
            length = (min(count, MOST) - 0.9) * PITCH
            full += f"M{place:.1f} {foot}v{up * length:.2f}"
        if count > MOST:  # cut: three small ones
            more += f"M{place:.1f} {foot + up * MOST * PITCH:.1f}v{up * 7}"
    return (
        f'<path d="{full}" class="dots {style}"/>'
        f'<path d="{more}" class="dots more {style}"/>'
    )
