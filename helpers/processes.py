"""Processes: run functions of a notebook in several of them, as `torchrun` does.

See the chapter "Many GPUs, many labels".
"""

import faulthandler
import inspect
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from contextlib import suppress
from math import inf
from numbers import Real
from pathlib import Path

import psutil
import torch
import torch.distributed as dist

from helpers.checks import check_integer

IMPORTS = """
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, Subset, TensorDataset
""".strip()
MAIN = """

if __name__ == "__main__":
    # torchrun tells each process its rank, and where it meets the others.
    dist.init_process_group("gloo")
    arguments = {{}}
    if os.path.exists("arguments.pt"):
        arguments = torch.load("arguments.pt", weights_only=False)
    result = {name}(**arguments)
    torch.save(result, f"result_{{dist.get_rank()}}.pt")
    dist.destroy_process_group()
"""
STORED = Path(__file__).parent / "data/processes.json"
LAST = 12  # so many lines of what a process wrote are shown
# torchrun's report of each rank that failed
REPORT = re.compile(r"^ *rank *: (\d+).*\n *exitcode *: (-?\d+) \(pid: (\d+)\)", re.M)


class ProcessFailed(RuntimeError):
    """A rank failed, was killed, or did not finish in time: the message says which."""


class _CannotStart(Exception):
    pass


def script(*functions) -> str:
    """The text of a file for `torchrun`, made of functions that stand in a notebook.

    Imports, the functions, and a main that joins the gloo group, calls the first
    function, with what is in arguments.pt where there is such a file, and saves what it
    returns in result_RANK.pt. Imported are math, os, time, Path, np, torch, dist, F,
    nn, DistributedDataParallel, DataLoader, DistributedSampler, Subset, TensorDataset,
    a line where one of its names is used; a function imports anything else itself.
    Raises ValueError for no function, and for what is not made with `def` in a cell or
    a file.
    """
    if not functions:
        raise ValueError("functions must be at least one, the one that is called first")
    sources = []
    for function in functions:
        try:
            source = textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError):
            source = ""
        if not source.startswith(("def ", "@")):
            raise ValueError(
                "functions must be made with `def`, in a cell or a file, so that their "
                f"source can be read, got {function!r:.60}; put a class or a lambda "
                "inside the function that uses it"
            )
        sources.append(source.rstrip() + "\n")
    body = "\n\n".join(sources) + MAIN.format(name=functions[0].__name__)
    used = set(re.findall(r"\w+", body))
    lines = [
        line
        for line in IMPORTS.splitlines()
        if not line or used & set(re.split("import | as ", line)[-1].split(", "))
    ]
    return "\n".join(lines) + "\n\n\n" + body


def torchrun(
    *functions, processes, timeout=180, restarts=0, stored=None, **arguments
) -> list:
    """What the first function returns on each rank, called in several processes.

    `torchrun --standalone --nproc-per-node PROCESSES` runs `script(*functions)` in a
    temporary folder, with one thread each: every rank calls functions[0](**arguments)
    in a gloo group, and the other functions are those that it calls. arguments and
    results: tensors, arrays, numbers, texts, lists, dicts. Of what the ranks print only
    the last lines of one that is killed are shown. timeout: seconds, those of the start
    included, after which all are ended. restarts: how often torchrun may start all
    ranks again, in the same folder, where one failed. stored: a name in
    data/processes.json. Where processes cannot be started, or BOOK_NO_PROCESSES=1 is
    set, a line says so, and the results stored there are returned; where
    BOOK_STORE_PROCESSES=1 is set, they are written.
    No rank outlives the call, nor the notebook's kernel.
    Raises ProcessFailed, which names the rank that failed first, RuntimeError where
    processes cannot be started and nothing is stored, what pickle raises for arguments
    that it does not keep, ValueError for others, and for results to be written that
    JSON does not keep.
    """
    text = script(*functions)
    check_integer("processes", processes, 1)
    check_integer("restarts", restarts)
    if not isinstance(timeout, Real) or not 0 < timeout < inf:
        raise ValueError(f"timeout must be a number of seconds, got {timeout!r}")
    write = os.environ.get("BOOK_STORE_PROCESSES") == "1"
    table = json.loads(STORED.read_text("utf-8")) if stored is not None else {}
    if stored is not None and stored not in table and not write:
        raise ValueError(
            f"stored must be one of {sorted(table)}, got {stored!r}: to add it, run "
            "once with BOOK_STORE_PROCESSES=1"
        )
    try:
        results = _run(text, processes, timeout, restarts, arguments)
    except _CannotStart as reason:
        if stored is None or write:
            raise RuntimeError(f"processes cannot be started here: {reason}") from None
        print(f"Processes cannot be started here ({reason}): stored results are shown.")
        return table[stored]
    if stored is not None and write:
        kept = None
        with suppress(TypeError, ValueError):
            kept = json.loads(json.dumps(results, allow_nan=False))
        if kept != results:
            raise ValueError(
                "stored keeps results of finite numbers, texts, lists and dicts with "
                f"texts as keys, got {results!r:.200}"
            )
        text = json.dumps(table | {stored: results}, indent=1, sort_keys=True)
        STORED.write_text(text + "\n", "utf-8")
    return results


def _run(text, processes, timeout, restarts, arguments):
    if os.environ.get("BOOK_NO_PROCESSES") == "1":
        raise _CannotStart("BOOK_NO_PROCESSES is set")
    if not (dist.is_available() and dist.is_gloo_available()):
        raise _CannotStart("this PyTorch has no gloo")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    command += ["--local-addr=127.0.0.1"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        # What can be imported here can be imported there.
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        # Else ranks that start again may look for those that ended
        # (https://github.com/pytorch/pytorch/issues/135712).
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1" if restarts else "0",
    }
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        at = Path(folder)
        command += [f"--log-dir={folder}", "-m", "helpers.processes"]  # see _main
        command += [folder, str(time.time() + timeout)]
        (at / "script.py").write_text(text, "utf-8")
        torch.save(arguments, at / "arguments.pt")
        try:
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname(), timeout=9).close()
            # Else gloo looks for this computer's name, which not every network knows.
            for name in {"lo", "lo0"} & {name for _, name in socket.if_nameindex()}:
                environment["GLOO_SOCKET_IFNAME"] = name
            with open(at / "log", "wb") as log:
                launcher = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.PIPE,  # see _watch
                    stdout=log,
                    stderr=log,
                )
        except OSError as error:
            raise _CannotStart(error) from None
        code = None
        try:
            with suppress(subprocess.TimeoutExpired):
                code = launcher.wait(timeout)
        finally:
            _end(launcher, folder)
        files = [at / f"result_{rank}.pt" for rank in range(processes)]
        missing = [rank for rank, file in enumerate(files) if not file.exists()]
        if code is None:
            late = missing or range(processes)  # or all have a result, and do not end
            where = ", ".join(f"rank {rank}{_place(at, rank)}" for rank in late)
            raise ProcessFailed(f"not finished after {timeout} s: {where}")
        if code:
            raise _failure(at, code)
        if missing:
            raise ProcessFailed(f"rank {missing[0]} ended without a result")
        return [torch.load(file, weights_only=False) for file in files]


def _end(launcher, folder):
    """End all processes of a run, in whose command lines its folder stands."""
    launcher.stdin.close()  # the ranks end, even where this is interrupted: see _watch
    launcher.kill()
    launcher.wait()
    ours = [
        process
        for process in psutil.process_iter(["cmdline"])
        if folder in (process.info["cmdline"] or [])
    ]
    for process in ours:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(ours, timeout=5)


def _failure(folder, code):
    """The error that says which rank failed first, and how."""
    log = _read(folder / "log")
    failed = {rank: (int(status), pid) for rank, status, pid in REPORT.findall(log)}
    if not failed and not list(folder.glob("log_*")):
        return _CannotStart(log.strip().rpartition("\n")[2])
    if not failed:
        return ProcessFailed(f"torchrun ended with exit code {code}\n{_last(log)}")
    ended = re.findall(r"Sending process (\d+) closing signal", log)  # by torchrun

    def when(rank):
        _, pid = failed[rank]
        if (folder / f"error_{rank}").exists():
            return (folder / f"error_{rank}").stat().st_mtime_ns
        # One that says nothing was killed, and the errors of the others follow.
        return inf if pid in ended else 0

    rank = min(failed, key=when)
    status, _ = failed[rank]
    how = f"failed first, with exit code {status}"
    if status < 0:
        how = f"was killed by {signal.Signals(-status).name}"
    wrote = _read(folder / f"error_{rank}") or _read(folder / f"log_{rank}")
    return ProcessFailed(f"rank {rank} {how}\n{_last(wrote)}".strip())


def _place(folder, rank):
    """Where a rank was shortly before the end, if it had reached the script."""
    frame = re.search(r'"script.py", line (\d+) in (.*)', _read(folder / f"at_{rank}"))
    return f" (line {frame[1]} of script.py, in {frame[2]})" if frame else ""


def _read(file):
    return file.read_text("utf-8", "replace") if file.exists() else ""


def _last(text):
    return "\n".join(text.rstrip().splitlines()[-LAST:])


def _main():
    """What each rank does: run the script, and write down what goes wrong."""
    threading.Thread(target=_watch, daemon=True).start()
    rank = os.environ["RANK"]
    with open(f"log_{rank}", "wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    error_file = Path(f"error_{rank}")
    for of_an_earlier_start in (error_file, Path(f"result_{rank}.pt")):
        of_an_earlier_start.unlink(missing_ok=True)
    left = float(sys.argv[2]) - time.time()
    place = open(f"at_{rank}", "w")
    faulthandler.dump_traceback_later(max(left - 1, 0.01), file=place)
    try:
        runpy.run_path("script.py", run_name="__main__")
    except BaseException as error:
        lines = [
            f"  line {frame.lineno} of script.py, in {frame.name}: {frame.line}\n"
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == "script.py" and frame.name != "<module>"
        ]
        lines += traceback.format_exception_only(error)
        error_file.write_text("".join(lines), "utf-8")
        os._exit(1)  # at once: leaving the group might wait for the others


def _watch():
    """End this process when the kernel has gone, which held the other end of a pipe."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    _main()
