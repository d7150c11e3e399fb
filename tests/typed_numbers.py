"""Find numbers that were typed into text, where an output should say them.

A number counts where it has a decimal point, a percent sign or two digits, years aside.
It is fine where it stands as a whole number in an output, or where its paragraph,
heading, list item or table row carries a link to its source. A small integer is also
fine where it stands in code that readers see: it is a setting. Code in the text is not
looked at: settings belong there.
"""

import re

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

# GitHub's reading of dollars, the strictest of the places where a notebook is read.
MARKDOWN = (
    MarkdownIt("commonmark")
    .enable("table")
    .use(
        dollarmath_plugin,
        allow_labels=False,
        allow_space=False,
        allow_digits=False,
        double_inline=True,
    )
)

NUMBER = re.compile(
    r"""(?<!\d)(?<!\d\.)(?:
        (?P<version>\d+(?:\.\d+){2,})
      | (?P<value>
            (?:
                (?:\d{1,3}(?:[,_\u00a0\u2009\u202f]\d{3})+(?!\d)|\d+)(?:\.\d+)?
              | (?<!\.)\.\d+
            )
            (?:[eE][+-]?\d+)?
        )
        (?P<percent>\s?(?:%|per\scent\b|percent\b))?
    )""",
    re.VERBOSE,
)

YEAR = re.compile(r"(?:19|20)\d\d")


def typed_numbers(markdown, outputs, code=()):
    """The numbers, as typed, that a Markdown text has from nowhere.

    outputs, code: lists of texts in which they may stand.
    """
    shown = {number for text in outputs for number, _ in numbers(text)}
    settings = {number for text in code for number, _ in numbers(text)}
    found = []
    for text, linked in pieces(markdown):
        if linked:
            continue
        # A space between thousands is read in text only: in an output it is the gap
        # between two columns.
        text = re.sub(r"(?<=\d) (?=\d{3}(?!\d))", "\u2009", text)
        for (digits, percent), as_typed in numbers(text):
            small = digits.isdigit() and not percent and len(digits) < 5
            if small and (len(digits) < 2 or YEAR.fullmatch(digits)):
                continue
            in_output = (digits, percent) in shown
            # A percentage may stand in a column of percentages, without its sign.
            in_output |= percent and (digits, False) in shown
            if not in_output and not (small and (digits, False) in settings):
                found.append(as_typed)
    return found


def numbers(text):
    """Every whole number of a text but for versions such as 1.2.3.

    Yields ((digits, whether a percentage), as written).
    """
    # LaTeX has ways of its own to write a percent sign and the gap between thousands.
    text = re.sub(r"\{,\}|\\,", "\u2009", text.replace("\\%", "%"))
    for match in NUMBER.finditer(text):
        if match["value"]:
            yield (
                (
                    re.sub(r"[,_\u00a0\u2009\u202f]", "", match["value"]),
                    bool(match["percent"]),
                ),
                match[0],
            )


def pieces(markdown):
    """Each paragraph, heading, list item and table row: (text, has it a source?)."""
    within = []
    for token in MARKDOWN.parse(markdown):
        if token.type in ("list_item_open", "tr_open"):
            within.append(("", False))
        elif token.type in ("list_item_close", "tr_close"):
            yield within.pop()
        elif token.type in ("inline", "math_block"):
            children = token.children or []
            text = plain_text(children) if children else token.content
            linked = any(is_source(child) for child in children)
            if within:
                within[-1] = (f"{within[-1][0]} {text}", within[-1][1] or linked)
            else:
                yield text, linked


def plain_text(tokens):
    parts = []
    for token in tokens:
        if token.type in ("text", "math_inline", "math_inline_double"):
            parts.append(token.content)
        elif token.type == "image":
            parts.append(plain_text(token.children))
        elif token.type in ("code_inline", "softbreak", "hardbreak"):
            parts.append("\n")  # so that no number is joined across it
    return "".join(parts)


def is_source(token):
    """A link that leads out of its own page, and not to a place to run it."""
    target = token.attrGet("href") or ""
    return token.type == "link_open" and not target.startswith(
        ("#", "https://colab.research.google.com")
    )
