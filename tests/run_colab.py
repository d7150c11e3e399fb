"""Run every notebook as Colab meets it: its Python, its packages, an empty folder.

These are the self-contained notebooks of tools/editions.py: no address is set, and
where nothing is missing there is no network either. Every output is compared with the
stored one. The first cell is tried by itself where something is wrong, and where it
installs `helpers` from an address, for which git is given a snapshot of the working
tree. This file needs nothing but Python and git. With the argument `find` it only looks
for Colab's Python, with `prepare` it only installs the packages.
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
CELL = (ROOT / "tools" / "bootstrap_cell.py").read_text("utf-8")
TAG = re.search(r'^TAG = "(.*)"$', CELL, re.M)[1]
REPO = "owner/name"
AT_ONCE = 2  # notebooks
NOT_IN_COLAB = "torchmetrics", "efficientnet_lite0"
# What Colab has of what the book uses, and of what compares.
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
    "psutil",
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
# The first cell alone: what it prints, or what a reader sees where it goes wrong.
FIRST_CELL = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
[cell] = notebook.cells = [cell for cell in notebook.cells if cell.id == "bootstrap"]
nbclient.NotebookClient(notebook, kernel_name="python3", allow_errors=True).execute()
for output in cell.outputs:
    print(output.get("text") or "\\n".join(output.traceback), end="")
"""
# Put into an environment, it leaves this computer alone in the world.
NO_NETWORK = """
import socket
connect = socket.socket.connect

def connect_here(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
        raise OSError("there is no network")
    return connect(self, address)

socket.socket.connect = connect_here
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
    # Once a week, the newest versions instead of Colab's.
    limits = [] if os.environ.get("NEWEST") else ["-c", CONSTRAINTS]
    wanted = f"{limits} {PACKAGES} {CONSTRAINTS.read_text('utf-8')}"
    if limits and stamp.exists() and stamp.read_text("utf-8") == wanted:
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
            *limits,
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


def overlay(folder, network=True):
    """A throw-away environment on top of .venv-colab: what is installed stays in it.

    Returns its Python.
    """
    subprocess.run(
        [BASE / "bin" / "python", "-m", "venv", "--without-pip", folder], check=True
    )
    [packages] = folder.glob("lib/python*/site-packages")
    [base] = BASE.glob("lib/python*/site-packages")
    (packages / "base.pth").write_text(f"{base}\n")
    if not network:
        (packages / "no_network.py").write_text(NO_NETWORK)
        (packages / "no_network.pth").write_text("import no_network\n")
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


def said(notebook, folder, network=False, **files):
    """What the first cell of a notebook says, alone in a folder of its own.

    files: texts of files that lie beside it.
    """
    folder.mkdir()
    python = overlay(folder / "environment", network)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    command = [python, "-c", FIRST_CELL, notebook]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(network),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def environment(network):
    """The environment's variables; without a network, pip finds nothing here either."""
    if network:
        return None  # as they are
    kept = {name: text for name, text in os.environ.items() if "PIP_" not in name}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}


def problems_of_first_cells(made, folder):
    """Pairs: what is tried with a first cell, and what is wrong with what it says."""
    folder.mkdir()
    plain, with_address = folder / "plain.ipynb", folder / "address.ipynb"
    source = (ROOT / "book" / "loss.ipynb").read_text("utf-8")
    plain.write_text(re.sub(r'(REPO = \\")[^"\\]*', r"\1", source), "utf-8")
    with_address.write_text(
        re.sub(r'(REPO = \\")[^"\\]*', rf"\g<1>{REPO}", source), "utf-8"
    )
    ready = rf"The book's helpers {TAG} are ready\.\n"
    loss, evaluation = made / "loss.ipynb", made / "evaluation.ipynb"
    for what, expected, arguments in (
        ("no helpers, no address", r"The book's helpers .* offers\.\n?", {}),
        ("helpers in the cell", ready, {"notebook": loss}),
        (
            "another helpers.py beside it",
            ready,
            {"notebook": loss, "helpers": "__version__ = '0.1.0'"},
        ),
        (
            "another helpers.py, and none in the cell",
            r".*helpers\.py hides the book's helpers .*\.\n?",
            {"notebook": with_address, "network": True, "helpers": ""},
        ),
        (
            "a package is missing, no network",
            r"(?s).*Could not install torchmetrics.*: is there a network\? .*\n?",
            {"notebook": evaluation},
        ),
        ("helpers from an address", "", {"notebook": with_address, "network": True}),
    ):
        arguments = {"notebook": plain, **arguments}
        found = said(folder=folder / what, **arguments)
        fine = re.fullmatch(expected, found)
        yield what, None if fine else f"it says\n{found}"


def problem_with(made, folder):
    """What is wrong with a self-contained notebook that is run alone, or None."""
    (folder / "content").mkdir(parents=True)
    copied = folder / "content" / made.name
    shutil.copy(made, copied)
    needs = re.search(r"NEEDS = (\{.*?\})", made.read_text("utf-8"))[1]
    missing = any(name in needs for name in NOT_IN_COLAB)
    python = overlay(folder / "environment", network=missing)
    before = freeze(python)
    notebooks = ROOT / "tools" / "notebooks.py"
    command = [python, notebooks, "check", "--other-versions", copied]
    checked = subprocess.run(
        command, env=environment(missing), capture_output=True, text=True
    )
    if checked.returncode:
        return checked.stdout + checked.stderr
    after = freeze(python)
    if before - after:
        changed = f"{sorted(before - after)} became {sorted(after - before)}"
        return f"its first cell changed what was there: {changed}"
    if missing != bool(after - before):
        return f"its first cell should install what is missing: {after - before}"


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
        editions = ROOT / "tools" / "editions.py"
        subprocess.run([BASE / "bin" / "python", editions, temporary], check=True)
        made = temporary / "self-contained"
        failed = done = 0
        for what, problem in problems_of_first_cells(made, temporary / "first"):
            failed += report(f"the first cell: {what}", problem)
            done += 1
        paths = sorted(made.glob("*.ipynb"))
        folders = [temporary / path.stem for path in paths]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for path, problem in zip(paths, pool.map(problem_with, paths, folders)):
                failed += report(path.name, problem)
                done += 1
        print(f"{done - failed} passed, {failed} failed")
    return failed


def report(name, problem):
    print(f"{name}: {problem or 'fine'}", flush=True)
    return bool(problem)


if __name__ == "__main__":
    sys.exit(main())
