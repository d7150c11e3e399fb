"""Run every notebook as Colab meets it: its Python, its packages, an empty folder.

The notebook's own first cell installs `helpers` from the repository's address, for
which git is given a snapshot of the working tree; then every output is compared with
the stored one. This file needs nothing but Python and git. With the argument `find` it
only looks for Colab's Python, with `prepare` it only installs the packages.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / ".venv-colab"
CONSTRAINTS = ROOT / "tests" / "colab-constraints.txt"
BOOTSTRAP = ROOT / "tools" / "bootstrap_cell.py"
TAG = re.search(r'^TAG = "(.*)"$', BOOTSTRAP.read_text("utf-8"), re.M)[1]
REPO = "owner/name"
AT_ONCE = 2  # notebooks
# What Colab has of what the book uses (it has no torchmetrics), and of what compares.
PACKAGES = [
    "gymnasium",
    "ipykernel",
    "ipython",
    "ipywidgets",
    "matplotlib",
    "nbclient",
    "nbformat",
    "numpy",
    "pandas",
    "pip",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "seaborn",
    "setuptools",
    "timm",
    "torch",
    "torchvision",
    "pillow",
    "threadpoolctl",
]
# The first cell alone, as a reader sees it go wrong.
SHOW_ERROR = """
import sys, nbclient, nbformat
cell = nbformat.v4.new_code_cell(open(sys.argv[1]).read())
notebook = nbformat.v4.new_notebook(cells=[cell])
nbclient.NotebookClient(notebook, kernel_name="python3", allow_errors=True).execute()
[output] = cell.outputs
print(*output.traceback, sep="\\n")
"""


def find_python():
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable, "python3.13", *pyenv.glob("3.13*/bin/python")]
    if shutil.which("uv"):
        candidates.append(
            subprocess.run(
                ["uv", "python", "find", "3.13"], capture_output=True, text=True
            ).stdout.strip()
        )
    for candidate in candidates:
        try:
            asked = subprocess.run(
                [
                    candidate,
                    "-c",
                    "import sys, ensurepip; print(*sys.version_info[:2])",
                ],
                capture_output=True,
                text=True,
            )
        except OSError:
            continue
        if asked.stdout == "3 13\n":
            return candidate
    sys.exit(
        "There is no Python 3.13 here, which Colab has: install one, or name it, as in "
        "`make test-colab PYTHON=python3.13`."
    )


def install():
    """Put Colab's versions into .venv-colab, once."""
    stamp = BASE / "installed"
    wanted = CONSTRAINTS.read_text("utf-8") + " ".join(PACKAGES)
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    python = find_python()
    print(f"Installing Colab's packages into {BASE.name} ...", flush=True)
    subprocess.run([python, "-m", "venv", "--clear", BASE], check=True)
    subprocess.run(
        [
            BASE / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "-c",
            CONSTRAINTS,
            *PACKAGES,
        ],
        check=True,
    )
    stamp.write_text(wanted, "utf-8")


def snapshot(folder):
    """The working tree as a repository, with the tag that the first cell asks for."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git = [
        "git",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "tag.gpgsign=false",
        "-c",
        "user.name=test",
        "-c",
        "user.email=",
        "-C",
        folder,
    ]
    for arguments in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["commit", "--quiet", "-m", TAG],
        ["tag", TAG],
    ):
        subprocess.run([*git, *arguments], check=True)


def overlay(folder):
    """A throw-away environment on top of .venv-colab: what is installed stays in it.

    Returns its Python.
    """
    subprocess.run(
        [BASE / "bin" / "python", "-m", "venv", "--without-pip", folder], check=True
    )
    [packages] = folder.glob("lib/python*/site-packages")
    [base] = BASE.glob("lib/python*/site-packages")
    (packages / "base.pth").write_text(f"{base}\n")
    return folder / "bin" / "python"


def freeze(python):
    return set(
        subprocess.run(
            [python, "-m", "pip", "freeze", "--all"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
    )


def problem_without_address(folder):
    """What is wrong with the first cell where no address is set, or None."""
    folder.mkdir()
    cell = folder / "first_cell.py"
    cell.write_text(BOOTSTRAP.read_text("utf-8"), "utf-8")
    python = overlay(folder / "environment")
    shown = subprocess.run(
        [python, "-c", SHOW_ERROR, cell], cwd=folder, capture_output=True, text=True
    )
    if shown.stdout.count("\n") != 1 or not shown.stdout.startswith(
        "The book's helpers are not installed"
    ):
        return f"it should say so in one sentence:\n{shown.stdout}{shown.stderr}"


def problem_with(path, folder):
    """What is wrong with a notebook that is run alone, or None."""
    (folder / "content").mkdir(parents=True)
    copied = folder / "content" / path.name
    text, count = re.subn(
        r'(REPO = \\")[^"]*\\"', rf'\g<1>{REPO}\\"', path.read_text("utf-8")
    )
    if count != 1:
        return f"it has {count} lines that set REPO"
    copied.write_text(text, "utf-8")
    python = overlay(folder / "environment")
    before = freeze(python)
    notebooks = ROOT / "tools" / "notebooks.py"
    command = [python, notebooks, "check", "--other-versions", copied]
    checked = subprocess.run(command, capture_output=True, text=True)
    if checked.returncode:
        return checked.stdout + checked.stderr
    after = freeze(python)
    if before - after:
        changed = f"{sorted(before - after)} became {sorted(after - before)}"
        return f"its first cell changed what was there: {changed}"
    if not any(line.startswith("multilabel-book-helpers") for line in after):
        return "its first cell installed no helpers"


def main():
    if sys.argv[1:] == ["find"]:
        print(find_python())
        return 0
    install()
    if sys.argv[1:] == ["prepare"]:
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        for name in ("PYTHONPATH", "VIRTUAL_ENV", "BOOK_SEED"):
            os.environ.pop(name, None)
        os.environ.update(
            {
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"url.{temporary / 'repository'}.insteadOf",
                "GIT_CONFIG_VALUE_0": f"https://github.com/{REPO}",
                "JUPYTER_DATA_DIR": str(temporary / "jupyter"),
                "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            }
        )
        snapshot(temporary / "repository")
        alone = problem_without_address(temporary / "alone")
        failed = report("the first cell alone, without an address", alone)
        paths = sorted((ROOT / "book").glob("*.ipynb"))
        folders = [temporary / path.stem for path in paths]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for path, problem in zip(paths, pool.map(problem_with, paths, folders)):
                failed += report(path.name, problem)
        print(f"{len(paths) + 1 - failed} passed, {failed} failed")
    return failed


def report(name, problem):
    print(f"{name}: {problem or 'fine'}", flush=True)
    return bool(problem)


if __name__ == "__main__":
    sys.exit(main())
