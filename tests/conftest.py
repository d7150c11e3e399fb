"""What several test files share."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toc import ROOT


@pytest.fixture(scope="session")
def build():
    """A function that builds the book in a folder, as `make book` does, and returns the finished process."""

    def run(folder):
        command = [
            Path(sys.executable).with_name("jupyter-book"),
            "build",
            "-W",
            "-n",
            "--keep-going",
            folder,
        ]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    return run


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A copy of all that a page is made from, where `build` leaves nothing in the working tree."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(
        ROOT / "book",
        folder / "book",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
    )
    shutil.copytree(
        ROOT / "tools", folder / "tools", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder


@pytest.fixture(scope="session")
def site(source, build):
    """The built book: the folder that holds its pages."""
    built = build(source)
    assert built.returncode == 0, built.stdout
    return source / "_build" / "html"


@pytest.fixture(scope="module")
def one_thread():
    """In models this small a second thread gains little, and on a busy machine it waits for long."""
    import torch  # here, since the tests of the pages do without it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
