# @title Setup: one thread, and the book's helpers (run this cell first)
import base64
import importlib.metadata
import io
import os
import re
import site
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec

REPO = ""
TAG = "v0.6.0"
EMBEDDED = ""  # in a notebook that runs anywhere: the helpers and their data, zipped
NEEDS = {}  # there: what this chapter imports
# Before PyTorch is imported. In models this small a second thread gains little, and
# beside other work it waits for long.
os.environ["OMP_NUM_THREADS"] = "1"


class Stop(Exception):
    def _render_traceback_(self):
        return [str(self)]  # a sentence, no traceback


def install(*packages):
    """Add packages, and leave those that are there as they are."""
    if find_spec("pip") is None:
        raise Stop(
            f"{', '.join(packages)} is missing, and this Python has no pip to install "
            "it: run `python -m ensurepip`, or choose another kernel."
        )
    versions = {}
    for package in importlib.metadata.distributions():
        versions.setdefault(package.name, package.version)  # the first is imported
    versions.pop("multilabel-book-helpers", None)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input"]
    with tempfile.TemporaryDirectory() as folder:
        there = os.path.join(folder, "there.txt")
        with open(there, "w") as file:
            for name in versions:
                if re.fullmatch(r"[\w.-]+", str(name)):
                    # Three signs: some versions follow no rule.
                    file.write(f"{name}==={versions[name]}\n")
        command = [*pip, "--constraint", there, *packages]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise Stop(
            f"{said}\nCould not install {', '.join(packages)}: is there a network? "
            "Connect and run this cell again, or install it in another way."
        )
    importlib.invalidate_caches()
    site.addsitedir(site.getusersitepackages())  # where pip may not write elsewhere


def is_there():
    """Whether the book's helpers can be imported, in this notebook's version."""
    try:
        import helpers
    except Exception:  # whatever another file of this name raises
        return False
    return f"v{getattr(helpers, '__version__', None)}" == TAG


if not is_there():
    for name in [name for name in sys.modules if name.split(".")[0] == "helpers"]:
        del sys.modules[name]  # another package, or another version of this one
    if EMBEDDED:
        missing = [NEEDS[name] for name in NEEDS if find_spec(name) is None]
        if missing:
            install(*missing)
            if any(find_spec(name) is None for name in NEEDS):
                raise Stop("Installed: restart the kernel and run this cell again.")
        unpacked = tempfile.TemporaryDirectory(prefix="multilabel-book-")
        packed = base64.b85decode(EMBEDDED.replace("\n", ""))
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(unpacked.name)
        sys.path.insert(0, unpacked.name)
        added = f"; installed {', '.join(missing)}" if missing else ""
        print(f"The book's helpers {TAG} are ready{added}.")
    elif REPO:
        install(f"git+https://github.com/{REPO}@{TAG}")
    else:
        raise Stop(
            f"The book's helpers {TAG} are not installed: run `pip install .` in your "
            "copy of the book, or take the notebook that the book's page offers."
        )
    if not is_there():
        import helpers

        hiding = helpers.__file__ or list(helpers.__path__)[0]
        raise Stop(
            f"{hiding} hides the book's helpers {TAG}: give it another name, or "
            "uninstall it, and restart the kernel."
        )
from helpers.claims import claim
