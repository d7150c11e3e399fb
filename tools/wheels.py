"""Fill the folder wheels/: all that a learner installs, for a room without a network.

    python tools/wheels.py [--platform windows|macos|linux] [--python 3.12]
                           [--torch-index ADDRESS]

Without arguments it is for this computer's system and this Python. Call it once for
each that will come: the files of all may stand in one folder. Beside them stands
requirements.txt, the learner's lock as it fits what is there.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-learn.lock"
WHEELS = ROOT / "wheels"
HERE = {"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux")
# For each system the tags of its files, and what the lock's markers ask for: pip would
# answer those for the computer that it runs on.
SYSTEMS = {
    "windows": (
        ["win_amd64"],
        {"sys_platform": "win32", "os_name": "nt", "platform_machine": "AMD64"},
    ),
    "macos": (
        ["macosx_14_0_arm64"],
        {"sys_platform": "darwin", "os_name": "posix", "platform_machine": "arm64"},
    ),
    "linux": (
        [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]
        + ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"],
        {"sys_platform": "linux", "os_name": "posix", "platform_machine": "x86_64"},
    ),
}


def entries(lock):
    """Pairs of an entry of the lock, as it stands there, and its Requirement."""
    texts = re.split(r"(?<!\\)\n", lock.strip())
    return [(text, Requirement(text.partition("\\\n")[0])) for text in texts]


def wanted(lock, markers, python):
    """The lines of the lock for a Python such as 3.12.1, without their markers."""
    markers = {
        **markers,
        "implementation_name": "cpython",
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
    }
    return [
        " ".join([one.name + str(one.specifier), *re.findall(r"--hash=\S+", text)])
        for text, one in entries(lock)
        if one.marker is None or one.marker.evaluate(markers)
    ]


def download(lines, tags, python, *options):
    """Let pip fetch the files of these lines for a system and a Python."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lines.txt")
        path.write_text("\n".join(lines), "utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", *options]
        command += ["--no-deps", "--only-binary", ":all:", "-r", path, "--dest", WHEELS]
        command += ["--implementation", "cp", "--python-version", python]
        for tag in tags:
            command += ["--platform", tag]
        if subprocess.run(command).returncode:
            sys.exit("Not all could be downloaded: see above.")


def fitting(lock):
    """The lock for what is in wheels/: PyTorch's build for the CPU needs no CUDA."""
    builds = sorted(WHEELS.glob("*+cpu-*.whl"))
    if not builds:
        return lock
    kept = []
    for text, one in entries(lock):
        if "sys_platform == 'linux'" in text:  # CUDA
            continue
        for path in builds:
            if path.name.startswith(f"{one.name}-"):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                text += f" \\\n    --hash=sha256:{digest}"
        kept.append(text)
    return "\n".join(kept) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--platform", choices=SYSTEMS, default=HERE)
    parser.add_argument("--python", default="{}.{}".format(*sys.version_info))
    parser.add_argument("--torch-index", help="where PyTorch's builds for the CPU are")
    arguments = parser.parse_args()
    tags, markers = SYSTEMS[arguments.platform]
    lock = LOCK.read_text("utf-8")
    WHEELS.mkdir(exist_ok=True)

    if arguments.torch_index:
        names = ["torch", "torchvision"]
        torch = [str(one) for _, one in entries(lock) if one.name in names]
        download(torch, tags, arguments.python, "--index-url", arguments.torch_index)
    lock = fitting(lock)
    # A marker can name 3.11.5: take what the first and what the last 3.11 needs.
    ends = [f"{arguments.python}.{patch}" for patch in (0, 99)]
    needs = {tuple(wanted(lock, markers, python)): python for python in ends}
    for lines, python in needs.items():
        download(lines, tags, python, "--require-hashes", "--find-links", WHEELS)
    (WHEELS / "requirements.txt").write_text(lock, "utf-8")

    size = sum(path.stat().st_size for path in WHEELS.iterdir()) / 1e6
    print(f"The folder wheels holds {size:.0f} MB. To install from it:")
    install = "install --no-index --find-links wheels -r wheels/requirements.txt"
    print(f"python -m pip {install}")


if __name__ == "__main__":
    main()
