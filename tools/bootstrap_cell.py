# @title Setup: one thread, and the book's helpers (run this cell first)
import os
import subprocess
import sys

REPO = ""
TAG = "v0.2.0"
# Before PyTorch is imported. In models this small a second thread gains little, and
# beside other work it waits for long.
os.environ["OMP_NUM_THREADS"] = "1"


class Stop(Exception):
    def _render_traceback_(self):
        return [str(self)]  # a sentence, no traceback


try:
    import helpers
except ImportError:
    if not REPO:
        raise Stop(
            "The book's helpers are not installed, and REPO names no repository to "
            "install them from: run `pip install .` in your copy of the book."
        ) from None
    url = f"git+https://github.com/{REPO}@{TAG}"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", url]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        said = f"{done.stdout}{done.stderr}"
        raise Stop(
            f"{said}The book's helpers could not be installed from {url}."
        ) from None
    import helpers
if not hasattr(helpers, "__version__"):
    hiding = helpers.__file__ or list(helpers.__path__)[0]
    raise Stop(
        f"{hiding} hides the book's helpers: give it another name, restart the kernel."
    )
if f"v{helpers.__version__}" != TAG:
    raise Stop(
        f"This notebook needs the helpers of {TAG}, and v{helpers.__version__} is "
        "installed: run `pip install .` in your copy of the book, restart the kernel."
    )
from helpers.claims import claim
