"""Stop with one sentence where the book's packages are not made for this Python.

This file is read by old Pythons too, 2.7 included.
"""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.exit(
        "The book needs Python 3.11 to 3.14, and this one is %d.%d: "
        "name another, as in `make book PYTHON=python3.12`." % sys.version_info[:2]
    )
