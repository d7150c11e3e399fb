"""tools/wheels.py: what goes on the stick, and that it can be installed from there."""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import wheels

# What the tool answers for each system; pip would answer for the one it runs on.
MARKERS = {
    "sys_platform",
    "os_name",
    "platform_machine",
    "implementation_name",
    "python_version",
    "python_full_version",
}


def names(system, python):
    lock = wheels.LOCK.read_text("utf-8")
    lines = wheels.wanted(lock, wheels.SYSTEMS[system][1], python)
    assert all(re.search(r" --hash=sha256:[0-9a-f]{64}$", line) for line in lines)
    return {line.partition("==")[0]: line.split()[0] for line in lines}


def test_each_system_gets_its_own():
    windows, macos, linux = (names(name, "3.12.0") for name in wheels.SYSTEMS)
    assert {"colorama", "pywinpty"} <= set(windows) - set(macos) - set(linux)
    assert {"appnope"} == set(macos) - set(windows) - set(linux)
    assert {"triton", "nvidia-cudnn-cu13"} <= set(linux) - set(macos) - set(windows)
    assert {"pexpect"} <= (set(linux) & set(macos)) - set(windows)
    for system in [windows, macos, linux]:
        assert {"torch", "torchvision", "timm", "jupyterlab", "numpy"} <= set(system)


def test_each_python_gets_its_own():
    older, newer = names("macos", "3.11.0"), names("macos", "3.12.0")
    assert older["contourpy"] != newer["contourpy"]


def test_every_marker_of_the_lock_has_its_answer():
    lock = wheels.LOCK.read_text("utf-8")
    for text, one in wheels.entries(lock):
        assert set(re.findall(r"[a-z]+_[a-z_]+", str(one.marker or ""))) <= MARKERS


def wheel(folder, name, version, tag):
    """A package that holds nothing, in an index; return the hash of its file."""
    folder = folder / name
    folder.mkdir(parents=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    place = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        file.writestr(f"{place}/METADATA", about)
        tags = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        file.writestr(f"{place}/WHEEL", tags)
        file.writestr(f"{place}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{path.name}">{path.name}</a>')
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def stick(tmp_path, monkeypatch, capfd):
    """A function: fill a folder from an index and a small lock of our own."""
    index, torch = tmp_path / "index", tmp_path / "torch"
    python = f"cp3{sys.version_info.minor}"
    tag = f"{python}-{python}-manylinux_2_28_x86_64"
    lock = []
    for name, version, kind, marker in [
        ("timm", "1.0", "py3-none-any", ""),
        ("torch", "2.0", tag, ""),
        ("torchvision", "2.0", tag, ""),
        ("triton", "3.0", tag, " ; sys_platform == 'linux'"),
        ("winpty", "1.0", f"{python}-{python}-win_amd64", " ; os_name == 'nt'"),
    ]:
        digest = wheel(index, name, version, kind)
        lock.append(f"{name}=={version}{marker} \\\n    --hash=sha256:{digest}\n")
    for name in ["torch", "torchvision"]:
        wheel(torch, name, "2.0+cpu", tag)
    monkeypatch.setattr(wheels, "LOCK", tmp_path / "lock")
    wheels.LOCK.write_text("".join(lock), "utf-8")
    monkeypatch.setattr(wheels, "WHEELS", tmp_path / "wheels")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", index.as_uri())

    def fill(*arguments):
        monkeypatch.setattr(sys, "argv", ["wheels.py", *arguments])
        wheels.main()
        assert "install --no-index --find-links wheels -r" in capfd.readouterr().out
        names = {path.name for path in wheels.WHEELS.glob("*.whl")}
        return {"-".join(name.split("-")[:2]) for name in names}

    fill.torch = torch.as_uri()
    return fill


def install(folder):
    """What can be installed from the folder alone, with every hash compared."""
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps"]
    command += ["--find-links", wheels.WHEELS, "--require-hashes", "--quiet"]
    command += ["-r", wheels.WHEELS / "requirements.txt", "--target", folder]
    subprocess.run(command, check=True)
    return {path.stem for path in folder.glob("*.dist-info")}


@pytest.mark.skipif(wheels.HERE != "linux", reason="its packages are Linux's")
def test_a_stick_for_linux_with_cuda_and_without(stick, tmp_path):
    packages = {"timm-1.0", "torch-2.0", "torchvision-2.0", "triton-3.0"}
    assert stick() == packages
    assert install(tmp_path / "cuda") == packages

    cpu = {"timm-1.0", "torch-2.0+cpu", "torchvision-2.0+cpu"}
    shutil.rmtree(wheels.WHEELS)
    assert stick("--torch-index", stick.torch) == cpu
    assert install(tmp_path / "cpu") == cpu


def test_one_stick_for_two_systems(stick):
    wheels.LOCK.write_text(re.sub(r"torch.*\n.*\n", "", wheels.LOCK.read_text("utf-8")))
    assert stick("--platform", "linux") == {"timm-1.0", "triton-3.0"}
    both = {"timm-1.0", "triton-3.0", "winpty-1.0"}
    assert stick("--platform", "windows") == both


def test_a_file_that_is_not_the_locked_one_stays_away(stick):
    wheels.LOCK.write_text(f"timm==1.0 \\\n    --hash=sha256:{'0' * 64}\n", "utf-8")
    with pytest.raises(SystemExit, match="Not all could be downloaded"):
        stick()
    assert not list(wheels.WHEELS.iterdir())
