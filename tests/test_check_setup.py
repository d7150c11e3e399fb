"""check_setup.py: what it says on a computer that can run the book, and on others."""

import ast
import ctypes
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import helpers
from toc import ROOT

CHECK = ROOT / "check_setup.py"
CODE_WORD = "raven bamboo"  # book/teaching.md tells it to teachers
# What Python 2.7 cannot read.
NEWER = (
    ast.AnnAssign,
    ast.AsyncFunctionDef,
    ast.JoinedStr,
    ast.MatMult,
    ast.NamedExpr,
    ast.Nonlocal,
    ast.Starred,
    ast.YieldFrom,
)
# What every Python has.
COMMON = {
    *["hashlib", "os", "platform", "re", "shutil"],
    *["sys", "sysconfig", "textwrap", "time"],
}
# The check itself, with no way out to a network.
OFFLINE = """
import runpy, socket, sys
def refuse(*arguments):
    raise SystemExit("it asked for a network")
socket.socket.connect = socket.getaddrinfo = refuse
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(*command, **environment):
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


def fits_one_screen(text):
    lines = text.splitlines()
    return len(lines) <= 24 and max(map(len, lines)) <= 80


def load():
    spec = importlib.util.spec_from_file_location("check_setup", CHECK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(**others):
    """Versions that will do, but for these; None is a package that is missing."""
    names = [re.split("[<>]", bounds)[0] for bounds in load().PACKAGES]
    versions = dict.fromkeys([*names, "jupyterlab"], "99.9")
    versions = {**versions, "torchmetrics": "1.9.0", **others}
    return {name: version for name, version in versions.items() if version}


@pytest.fixture
def check(monkeypatch, tmp_path):
    """The file as a module, in a folder of its own, on a computer that is fine."""
    module = load()
    monkeypatch.setattr(module, "FOLDER", str(tmp_path))
    monkeypatch.setattr(module, "ENVIRONMENT", str(tmp_path / ".venv-learn"))
    monkeypatch.setattr(module, "OURS", str(tmp_path / "helpers"))
    monkeypatch.setattr(module, "train", lambda: "0.230665")
    monkeypatch.setattr(module, "memory", lambda: 8e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(50e9))
    monkeypatch.setattr(module, "installed_versions", found)
    monkeypatch.setattr(sys, "argv", ["check_setup.py"])
    return module


class Disk:
    def __init__(self, free):
        self.free = free


@pytest.mark.parametrize("environment", [{}, {"ATEN_CPU_CAPABILITY": "default"}])
def test_a_computer_that_is_ready_gets_the_word(environment):
    done = start(sys.executable, "-c", OFFLINE, CHECK, **environment)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith(f"The code word for your teacher: {CODE_WORD}\n")
    assert "FAIL" not in done.stdout and fits_one_screen(done.stdout)
    digits = re.search(r"loss (0\.\d{6}) |right digits", done.stdout)
    assert digits, done.stdout
    # Nobody reads the word off.
    assert CODE_WORD not in CHECK.read_text("ascii")
    assert "0.230665" not in CHECK.read_text("ascii")


def test_the_teacher_is_told_the_word():
    assert f"`{CODE_WORD}`" in (ROOT / "teach" / "WORKSHOP.md").read_text("utf-8")


def test_the_bounds_are_those_of_helpers(check):
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    needed = tomllib.loads(text)["project"]["dependencies"]
    assert check.PACKAGES[:-1] == needed
    assert check.PACKAGES[-1].startswith("ipykernel>=")


def test_every_python_can_read_it():
    tree = ast.parse(CHECK.read_text("ascii"))  # 2.7 takes no other letters
    for node in ast.walk(tree):
        assert not isinstance(node, NEWER), f"line {node.lineno}"
        if isinstance(node, (ast.arg, ast.FunctionDef)):
            hint = node.annotation if isinstance(node, ast.arg) else node.returns
            assert hint is None, f"line {node.lineno}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            assert len(node.args) == 1 and not node.keywords, f"line {node.lineno}"
    first = [node.names[0].name for node in tree.body if isinstance(node, ast.Import)]
    assert set(first) <= COMMON


def old_pythons():
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in ["2.7", "3.6", "3.9", "3.10"]:
        found = shutil.which(f"python{version}")
        yield from sorted(pyenv.glob(f"{version}.*/bin/python")) or [found]


@pytest.mark.parametrize("python", list(old_pythons()))
def test_an_old_python_gets_a_sentence(python):
    done = python and start(python, CHECK)
    # A pyenv answers for a Python that it does not have.
    if not done or "command exists in these Python versions" in done.stdout:
        pytest.skip("not on this computer")
    assert done.returncode == 1
    assert "and the book needs 3.11 to 3.14. Install" in done.stdout
    assert "python3.12 check_setup.py" in done.stdout
    assert "Traceback" not in done.stdout and fits_one_screen(done.stdout)


@pytest.mark.parametrize(
    "version, fine",
    [
        ((3, 9), False),
        ((3, 10), False),
        ((3, 11), True),
        ((3, 14), True),
        ((3, 15), False),
    ],
)
def test_pythons(version, fine):
    pretend = f"import sys; sys.version_info = {version}; __file__ = ''; "
    done = subprocess.run(
        [sys.executable, "-c", pretend + "exec(sys.stdin.read())", "--before"],
        input=CHECK.read_text("ascii"),
        capture_output=True,
        text=True,
    )
    assert (f"This is Python 3.{version[1]}," in done.stdout) != fine
    assert (done.returncode == 0) == fine


def outcome(check, capsys):
    """What is printed, and the exit status."""
    status = 0
    try:
        check.main()
    except SystemExit as end:
        status = end.code
    return capsys.readouterr().out, status


def test_nothing_is_left_behind(check, capsys, tmp_path):
    said, status = outcome(check, capsys)
    assert status == 0 and said.endswith(f"{CODE_WORD}\n"), said
    assert not list(tmp_path.iterdir())


WINDOWS = {
    "SYSTEM": "Windows",
    "platform.machine": lambda: "AMD64",
    "sysconfig.get_platform": lambda: "win-amd64",
}
MAC = {
    "SYSTEM": "Darwin",
    "platform.machine": lambda: "arm64",
    "platform.mac_ver": lambda: ("14.5", "", ""),
    "os.popen": lambda command: io.StringIO(""),
}
LINUX = {
    "SYSTEM": "Linux",
    "platform.machine": lambda: "aarch64",
    "platform.libc_ver": lambda: ("glibc", "2.28"),
}


def change(monkeypatch, module, changes):
    for name, value in changes.items():
        place, _, attribute = name.rpartition(".")
        monkeypatch.setattr(
            getattr(module, place) if place else module, attribute, value
        )


@pytest.mark.parametrize("computer", [WINDOWS, MAC, LINUX])
def test_computers_that_will_do(check, monkeypatch, capsys, computer):
    change(monkeypatch, check, computer)
    said, status = outcome(check, capsys)
    assert status == 0 and said.endswith(f"{CODE_WORD}\n"), said
    monkeypatch.setattr(sys, "argv", ["check_setup.py", "--before"])
    said, status = outcome(check, capsys)
    size = "3 GB" if computer is LINUX else "300 MB"
    assert status == 0 and f"It is. About {size} will be downloaded" in said


def broken():
    raise OSError("[WinError 126] c10.dll\nand more")


FOUR = ["gymnasium", "numpy", "pandas", "torch"]
# What the teacher is told, what is wrong, and what the learner is told to do.
WRONG = [
    ("32-bit", {"sys.maxsize": 2**31 - 1}, "install Python 3.12"),
    ("arm", {**WINDOWS, "sysconfig.get_platform": lambda: "win-arm64"}, "(64-bit)"),
    ("intel-mac", {**MAC, "platform.machine": lambda: "x86_64"}, "use Colab"),
    (
        "rosetta",
        {
            **MAC,
            "platform.machine": lambda: "x86_64",
            "os.popen": lambda command: io.StringIO("1\n"),
        },
        "install Python 3.12",
    ),
    ("old-macos", {**MAC, "platform.mac_ver": lambda: ("13.6", "", "")}, "update it"),
    ("processor", {**LINUX, "platform.machine": lambda: "riscv64"}, "use Colab"),
    ("old-linux", {**LINUX, "platform.libc_ver": lambda: ("glibc", "2.27")}, "newer"),
    ("old-linux", {**LINUX, "platform.libc_ver": lambda: ("", "")}, "use Ubuntu"),
    ("old-linux", {**LINUX, "platform.libc_ver": lambda: ("musl", "9")}, "use Ubuntu"),
    ("memory", {"memory": lambda: 0.9e9}, "another computer"),
    ("disk", {"shutil.disk_usage": lambda folder: Disk(0.2e9)}, "0.3 GB are free"),
    ("read-only", {"FOLDER": "nowhere"}, "your own documents"),
    ("no numpy", {"installed_versions": lambda: found(numpy=None)}, "pip install -r"),
    (
        "no gymnasium, numpy, pandas and 1 more",
        {"installed_versions": lambda: found(**dict.fromkeys(FOUR))},
        "Not installed: gymnasium, numpy, pandas and 1 more.",
    ),
    ("versions", {"installed_versions": lambda: found(numpy="1.26")}, "numpy>=2.0"),
    (
        "versions",
        {"installed_versions": lambda: found(torchmetrics="2.0")},
        "torchmetrics>=1.9,<2",
    ),
    ("digits", {"train": lambda: "0.230666"}, "pip install -r"),
    ("run", {"train": broken}, "c10.dll. Delete the folder .venv-learn"),
    ("run", {**WINDOWS, "train": broken}, "Visual C++ Redistributable (x64)"),
]


@pytest.mark.parametrize("told, changes, todo", WRONG)
def test_what_is_wrong_is_said(check, monkeypatch, capsys, told, changes, todo):
    change(monkeypatch, check, changes)
    said, status = outcome(check, capsys)
    assert status == 1 and said.endswith(f"For your teacher:\n{told}\n"), said
    assert said.count("\nFAIL") == 1 and todo in " ".join(said.split())
    assert CODE_WORD not in said


@pytest.mark.parametrize("system", [WINDOWS, LINUX])
def test_all_that_is_wrong_at_once_fits_one_screen(
    check, monkeypatch, capsys, tmp_path, system
):
    (tmp_path / "helpers").mkdir()
    names = [re.split("[<>]", bounds)[0] for bounds in check.PACKAGES]
    others = dict.fromkeys(names, "10.13.1")
    others |= {"numpy": "1.26.4", "gymnasium": None, "jupyterlab": None}
    changes = {
        "memory": lambda: 0.5e9,
        "shutil.disk_usage": lambda folder: Disk(0),
        "FOLDER": "nowhere",
        "installed_versions": lambda: found(**others),
        "train": broken,
    }
    change(monkeypatch, check, system | changes)
    said, status = outcome(check, capsys)
    told = "memory; disk; read-only; no gymnasium, helpers; run"
    assert status == 1 and said.endswith(f"For your teacher:\n{told}\n"), said
    assert fits_one_screen(said), said


def test_notes_do_not_fail(check, monkeypatch, capsys):
    slow = iter([0, 7.2])
    changes = {
        **LINUX,
        "memory": lambda: 1.1e9,
        "shutil.disk_usage": lambda folder: Disk(5e9),
        "installed_versions": lambda: found(jupyterlab=None),
        "time.process_time": lambda: next(slow),
    }
    change(monkeypatch, check, changes)
    said, status = outcome(check, capsys)
    assert status == 0 and CODE_WORD in said, said
    assert said.count("\nnote") == 3
    assert "one notebook at a time" in said and "in VS Code" in said
    assert "but 7 s. This computer is slow" in said


def test_more_room_is_needed_before_than_after(check, monkeypatch, capsys):
    changes = {**MAC, "shutil.disk_usage": lambda folder: Disk(1e9)}
    change(monkeypatch, check, changes)
    said, status = outcome(check, capsys)
    assert status == 0, said
    monkeypatch.setattr(sys, "argv", ["check_setup.py", "--before"])
    said, status = outcome(check, capsys)
    assert status == 1 and "until 2 GB are free" in said

    # With CUDA it needs more yet.
    check.problems.clear()
    changes = {**LINUX, "shutil.disk_usage": lambda folder: Disk(5e9)}
    change(monkeypatch, check, changes)
    said, status = outcome(check, capsys)
    assert status == 0 and "not with CUDA" in said


@pytest.mark.parametrize(
    "computer, new, python",
    [
        (WINDOWS, "py -{}.{}", ".venv-learn\\Scripts\\python"),
        (LINUX, "python{}.{}", ".venv-learn/bin/python"),
    ],
)
def test_commands_to_install(check, monkeypatch, tmp_path, computer, new, python):
    change(monkeypatch, check, computer)
    install = f"{python} -m pip install -r requirements-learn.lock"
    again = f"{python} check_setup.py"
    make = new.format(*sys.version_info) + " -m venv .venv-learn"
    assert check.installing() == [make, install, again]
    (tmp_path / ".venv-learn").mkdir()
    assert check.installing() == [again]
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv-learn"))
    assert check.installing() == [install]
    (tmp_path / "helpers").mkdir()
    ours = f"{python} -m pip install --no-deps -e ."
    assert check.installing() == [install, ours]


def test_helpers(check, monkeypatch, capsys, tmp_path):
    assert "bring their own" in outcome(check, capsys)[0]
    (tmp_path / "helpers").mkdir()
    said, status = outcome(check, capsys)
    assert status == 1 and "install --no-deps -e" in said
    assert said.endswith("\nno helpers\n")
    check.problems.clear()
    here = {check.HELPERS: "0.0.7"}  # of the day when it was installed from this copy
    monkeypatch.setattr(check, "installed_versions", lambda: found(**here))
    said, status = outcome(check, capsys)
    assert status == 0 and f"helpers {helpers.__version__}\n" in said


def test_memory(monkeypatch, tmp_path):
    check = load()
    assert 0.5e9 < check.memory() < 1e13

    def fill(status):
        assert ctypes.sizeof(status) == status[0] == 64
        status[1] = 4 * 10**9

    kernel = type("", (), {"GlobalMemoryStatusEx": staticmethod(fill)})
    monkeypatch.setattr(
        ctypes, "windll", type("", (), {"kernel32": kernel}), raising=False
    )
    with monkeypatch.context() as windows:
        windows.setattr(check.os, "name", "nt")
        size = check.memory()
    assert size == 4e9
