"""Keep of the theme's icon font what the pages show: 2 kB in place of 156 kB.

    python tools/icons.py

`book.css` names the same icons in its `unicode-range`; the browser takes any other one
from the theme's own font. The font is Font Awesome Free (SIL Open Font License 1.1),
which asks that a changed copy bears another name.
"""

from pathlib import Path

import pydata_sphinx_theme
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

ICONS = {
    "magnifying-glass": 0xF002,
    "download": 0xF019,
    "list": 0xF03A,
    "circle-half-stroke": 0xF042,
    "arrow-up": 0xF062,
    "bars": 0xF0C9,
    "angle-left": 0xF104,
    "angle-right": 0xF105,
    "file": 0xF15B,
    "sun": 0xF185,
    "moon": 0xF186,
    "file-pdf": 0xF1C1,
}
THEME = (
    Path(pydata_sphinx_theme.__file__).parent
    / "theme"
    / "pydata_sphinx_theme"
    / "static"
)
NAMES = {
    0: "Copyright (c) Fonticons, Inc. A subset of Font Awesome Free, renamed.",
    1: "Book Icons",
    2: "Solid",
    4: "Book Icons Solid",
    6: "BookIcons-Solid",
    13: "This Font Software is licensed under the SIL Open Font License, Version 1.1.",
    14: "https://openfontlicense.org",
}

font = TTFont(
    THEME / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.ttf",
    recalcTimestamp=False,
)
subsetter = Subsetter(Options(layout_features=[], hinting=False, notdef_outline=True))
subsetter.populate(unicodes=ICONS.values())
subsetter.subset(font)
font["name"].names = []
for number, text in NAMES.items():
    font["name"].setName(text, number, 3, 1, 0x409)
font.flavor = "woff"
font.save(Path(__file__).resolve().parent.parent / "book" / "_static" / "icons.woff")
