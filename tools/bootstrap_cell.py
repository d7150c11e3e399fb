# @title Setup: find or install the book's helpers (run this cell first)
REPO = ""
TAG = "v0.1.0"
try:
    from helpers.claims import claim
except ImportError:
    import subprocess
    import sys

    Stop = type(
        "Stop", (Exception,), {"_render_traceback_": lambda stop: [str(stop)]}
    )  # a sentence, no traceback
    if not REPO:
        raise Stop(
            "The book's helpers are not installed, and REPO names no repository to install them from: run `pip install .` in your copy of the book."
        )
    url = f"git+https://github.com/{REPO}@{TAG}"
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", url],
        capture_output=True,
        text=True,
    )
    if pip.returncode:
        raise Stop(
            f"{pip.stdout}{pip.stderr}The book's helpers could not be installed from {url}."
        )
