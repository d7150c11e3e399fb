"""Stop with one sentence where Python is too old for the book. This file is read by old Pythons too, 2.7 included."""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "The book needs Python 3.11 or later, and this one is %d.%d: name another, as in `make book PYTHON=python3.12`."
        % sys.version_info[:2]
    )
