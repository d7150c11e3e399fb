"""What several test files share."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, as in the notebooks

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from toc import ROOT


@pytest.fixture(scope="session")
def build():
    """Build the book in a folder, as `make book` does; return the ended process."""

    def run(folder):
        jupyter_book = Path(sys.executable).with_name("jupyter-book")
        return subprocess.run(
            [jupyter_book, "build", "-W", "-n", "--keep-going", folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run


@pytest.fixture(scope="session")
def sources():
    """Copy what `make book` reads into a folder; return the folder."""

    def copied(folder):
        for name in ("_config.yml", "_toc.yml", "pyproject.toml", "LICENSE"):
            shutil.copy(ROOT / name, folder)
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        for name in ("book", "tools", "teach", "helpers"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        return folder

    return copied


@pytest.fixture(scope="session")
def site(build, sources, tmp_path_factory):
    """The folder of the built pages, made from a copy: the working tree stays clean.

    The processes of pytest-xdist share one, which the first of them builds.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    pages = folder / "site"
    with FileLock(folder / "site.lock"):
        if not pages.exists():
            source = sources(tmp_path_factory.mktemp("source"))
            built = build(source)
            assert built.returncode == 0, built.stdout
            (source / "_build" / "html").rename(pages)
    return pages
