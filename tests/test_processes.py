"""Real processes: they start, they fail in several ways, and none of them is left."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import torch.distributed as dist

from helpers import processes
from helpers.processes import ProcessFailed, script, torchrun
from toc import ROOT


def add(x, of, each):
    print("not in the notebook")
    total = x.clone()
    dist.all_reduce(total)
    return {
        "rank": dist.get_rank(),
        "world": dist.get_world_size(),
        "total": total,
        "twice": twice(of),
        "each": [np.sqrt(value) for value in each],
        "threads": torch.get_num_threads(),
    }


def twice(values):
    from importlib import import_module

    from helpers.checks import to_numpy

    two = import_module("only_here").TWO
    return {name: two * to_numpy(array) for name, array in values.items()}


def end(how):
    """Rank 1 ends in some way; 0 waits for it in the group, 2 sleeps."""
    import signal

    if dist.get_rank() == 2:
        time.sleep(1000)
    if dist.get_rank() == 1:
        time.sleep(1)  # the others are where they wait
        if how == "error":
            broken(how)
        os.kill(os.getppid() if how == "torchrun" else os.getpid(), signal.SIGKILL)
    dist.barrier()


def broken(how):
    raise KeyError(f"a {how} of rank 1")


def hang():
    """Rank 0 sleeps, 1 ends, and 2 does not even see that its input is closed."""
    import signal

    Path(f"here_{dist.get_rank()}").touch()
    if dist.get_rank() == 2:
        os.kill(os.getpid(), signal.SIGSTOP)
    if dist.get_rank() == 0:
        time.sleep(1000)


def leave():
    os._exit(0)


def again(then):
    """Rank 1 fails once; at the second start it does what is asked."""
    import signal

    saved = Path(f"saved_{dist.get_rank()}")
    first = not saved.exists()
    saved.touch()
    dist.barrier()
    if first and dist.get_rank() == 1:
        raise OSError("once")
    if then == "be killed" and dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()
    return first


def result_then_none():
    """At the first start rank 0 has a result and 1 fails; then rank 0 has none."""
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if first and dist.get_rank() == 1:
        while not Path("result_0.pt").exists():
            time.sleep(0.1)
        raise OSError("once")
    if not first and dist.get_rank() == 0:
        while not Path("result_1.pt").exists():
            time.sleep(0.1)
        time.sleep(2)  # rank 1 leaves the group, whose store is here
        os._exit(0)


def linger():
    import threading

    threading.Thread(target=time.sleep, args=(1000,)).start()


def left(folder):
    """The processes in whose command line a folder stands."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or [])
    ]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the temporary folders are made; at the end of each test it is empty."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("BOOK_NO_PROCESSES", raising=False)
    monkeypatch.delenv("BOOK_STORE_PROCESSES", raising=False)
    yield tmp_path
    assert not left(tmp_path)


@pytest.fixture
def stored(tmp_path_factory, monkeypatch):
    """A file of stored results that is not the book's."""
    file = tmp_path_factory.mktemp("data") / "processes.json"
    file.write_text('{"kept": [1.5, {"a": [2]}]}')
    monkeypatch.setattr(processes, "STORED", file)
    return file


def failure(*functions, **arguments):
    with pytest.raises(ProcessFailed) as raised:
        torchrun(*functions, **arguments)
    return str(raised.value)


def test_results_come_from_every_rank(capfd, folder, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "only_here.py").write_text("TWO = 2")
    monkeypatch.syspath_prepend(elsewhere)  # as the editions add their helpers
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    values = {"array": np.arange(3.0), "tensor": torch.ones(2)}
    results = torchrun(
        add, twice, processes=3, x=torch.tensor([1.0, 0.1]), of=values, each=[4, 9.0]
    )
    assert [result["rank"] for result in results] == [0, 1, 2]
    for result in results:
        assert result["world"] == 3 and result["threads"] == 1
        assert torch.equal(result["total"], torch.tensor([3.0, 0.3]))
        assert result["twice"]["array"].tolist() == [0, 2, 4]
        assert result["twice"]["tensor"].tolist() == [2, 2]
        assert result["each"] == [2, 3]
    assert capfd.readouterr() == ("", "")
    assert not list(folder.iterdir())


def test_an_error_names_its_rank_and_its_line():
    text = failure(end, broken, processes=3, how="error")
    source = script(end, broken).splitlines()
    at = [source.index(f"    {line}") + 1 for line in END]
    assert text == (
        "rank 1 failed first, with exit code 1\n"
        f"  line {at[0]} of script.py, in end: broken(how)\n"
        f"  line {at[1]} of script.py, in broken: {END[1]}\n"
        "KeyError: 'a error of rank 1'"
    )


END = "        broken(how)", 'raise KeyError(f"a {how} of rank 1")'


def test_a_killed_rank_ends_the_run():
    started = time.monotonic()
    assert failure(end, broken, processes=3, how="kill") == (
        "rank 1 was killed by SIGKILL"
    )
    assert time.monotonic() - started < 60


def test_a_killed_torchrun_ends_the_run():
    text = failure(end, broken, processes=3, how="torchrun")
    assert text.startswith("torchrun ended with exit code -9")


def test_a_rank_that_hangs_is_named():
    started = time.monotonic()
    text = failure(hang, processes=3, timeout=30)
    line = script(hang).splitlines().index("        time.sleep(1000)") + 1
    assert text == (
        f"not finished after 30 s: rank 0 (line {line} of script.py, in hang), rank 2"
    )
    assert time.monotonic() - started < 40


def test_a_rank_that_ends_has_a_result():
    assert failure(leave, processes=1) == "rank 0 ended without a result"


def test_ranks_start_again_in_the_same_folder():
    assert torchrun(again, processes=2, restarts=1, then="go on") == [False, False]


def test_what_failed_at_an_earlier_start_is_forgotten():
    text = failure(again, processes=2, restarts=1, then="be killed")
    assert text == "rank 1 was killed by SIGKILL"


def test_results_of_an_earlier_start_are_forgotten():
    text = failure(result_then_none, processes=2, restarts=1)
    assert text == "rank 0 ended without a result"


def test_a_rank_with_a_result_that_does_not_end_is_named():
    text = failure(linger, processes=1, timeout=15)
    assert text == "not finished after 15 s: rank 0"


def test_a_rank_that_torchrun_had_to_kill_did_not_fail_first(tmp_path):
    """As torchrun reports a rank that does not heed SIGTERM for 30 seconds."""
    (tmp_path / "error_1").write_text("KeyError: 'the real one'")
    (tmp_path / "log_0").touch()
    (tmp_path / "log").write_text(
        "Sending process 100 closing signal SIGTERM\n"
        "  rank      : 0 (local_rank: 0)\n  exitcode  : -9 (pid: 100)\n"
        "  rank      : 1 (local_rank: 1)\n  exitcode  : 1 (pid: 101)\n"
    )
    assert str(processes._failure(tmp_path, 1)) == (
        "rank 1 failed first, with exit code 1\nKeyError: 'the real one'"
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_kernel_that_ends(how, folder):
    # A shell may have started the tests with Ctrl-C ignored; a kernel heeds it.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "import test_processes as t; t.torchrun(t.hang, processes=2)"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT / "tests",
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob("*/here_*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(left(folder)) >= 2  # torchrun, and rank 0
    kernel.send_signal(how)
    _, said = kernel.communicate(timeout=60)
    if how == signal.SIGINT:
        assert said.endswith("KeyboardInterrupt\n")
        assert not left(folder)
        assert not list(folder.iterdir())
    deadline = time.monotonic() + 60
    while left(folder) and time.monotonic() < deadline:
        time.sleep(0.1)


def test_where_torchrun_starts_no_rank_results_are_stored(stored, monkeypatch, capsys):
    # torchrun reads its options from such variables too, and refuses this one.
    monkeypatch.setenv("PET_MONITOR_INTERVAL", "never")
    assert torchrun(hang, processes=2, stored="kept") == [1.5, {"a": [2]}]
    out = capsys.readouterr().out
    assert out.startswith("Processes cannot be started here (")
    assert out.count("\n") == 1 and "'never'" in out


def test_stored_results_are_shown_and_written(stored, monkeypatch, capsys):
    monkeypatch.setenv("BOOK_NO_PROCESSES", "1")
    assert torchrun(hang, processes=2, stored="kept") == [1.5, {"a": [2]}]
    said = capsys.readouterr().out
    assert said == (
        "Processes cannot be started here (BOOK_NO_PROCESSES is set): "
        "stored results are shown.\n"
    )
    with pytest.raises(RuntimeError, match="cannot be started here: BOOK_NO_PROC"):
        torchrun(hang, processes=2)
    monkeypatch.setenv("BOOK_STORE_PROCESSES", "1")
    with pytest.raises(RuntimeError, match="cannot be started here"):
        torchrun(hang, processes=2, stored="kept")  # else nothing new were stored

    monkeypatch.setattr(processes, "_run", lambda *_: [{"b": 1, "a": 0.1}, "text"])
    torchrun(hang, processes=2, stored="new")
    text = stored.read_text("utf-8")
    assert json.loads(text) == {
        "kept": [1.5, {"a": [2]}],
        "new": [{"a": 0.1, "b": 1}, "text"],
    }
    assert text.index('"a": 0.1') < text.index('"b"')
    torchrun(hang, processes=2, stored="new")
    assert stored.read_text("utf-8") == text
    assert list(stored.parent.iterdir()) == [stored]
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "results", [[torch.ones(1)], [(1, 2)], [{1: 2}], [np.ones(2)], [float("nan")]]
)
def test_what_json_does_not_keep_is_not_stored(results, stored, monkeypatch):
    monkeypatch.setattr(processes, "_run", lambda *_: results)
    assert torchrun(hang, processes=2) is results
    assert torchrun(hang, processes=2, stored="kept") is results
    before = stored.read_text("utf-8")
    monkeypatch.setenv("BOOK_STORE_PROCESSES", "1")
    with pytest.raises(ValueError, match="stored keeps results of"):
        torchrun(hang, processes=2, stored="kept")
    assert stored.read_text("utf-8") == before


@pytest.mark.parametrize("broken_part", ["gloo", "socket", "interfaces", "process"])
def test_why_processes_cannot_be_started(broken_part, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("not allowed")

    if broken_part == "gloo":
        monkeypatch.setattr(dist, "is_gloo_available", lambda: False)
    elif broken_part == "socket":
        monkeypatch.setattr(processes.socket, "create_server", refuse)
    elif broken_part == "interfaces":
        monkeypatch.setattr(processes.socket, "if_nameindex", refuse)
    else:
        monkeypatch.setattr(processes.subprocess, "Popen", refuse)
    why = "gloo" if broken_part == "gloo" else "not allowed"
    with pytest.raises(RuntimeError, match=f"cannot be started here: .*{why}"):
        torchrun(hang, processes=2)


def test_the_script_is_a_file_to_copy():
    text = script(add, twice)
    assert text.startswith(
        "import os\n\nimport numpy as np\nimport torch\n"
        "import torch.distributed as dist\n\n\ndef add(x, of, each):\n"
    )
    assert "    result = add(**arguments)\n" in text
    for command in (["check", "--select=E,F,I"], ["format", "--diff"]):
        checked = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "-"],
            input=text,
            capture_output=True,
            text=True,
        )
        assert checked.returncode == 0, checked.stdout
    for line in (
        "from torch.utils.data import DataLoader, DistributedSampler, Subset, "
        "TensorDataset\n",
        "from torch.nn.parallel import DistributedDataParallel\n",
        "from pathlib import Path\n",
        "import torch.nn.functional as F\n",
    ):
        assert line not in text
        assert line in script(uses_others)


def uses_others():
    return Path, F.relu, DistributedDataParallel, Subset  # noqa: F821


def test_functions_keep_their_decorators_and_their_place():
    @torch.no_grad
    def inner():
        pass

    text = script(twice, inner)
    assert "\n\n\n@torch.no_grad\ndef inner():\n    pass\n\n\nif __name__" in text


@pytest.mark.parametrize(
    "wrong, name",
    [
        ({"functions": ()}, "functions"),
        ({"functions": (lambda: 1,)}, "functions"),
        ({"functions": (eval("lambda: 1"),)}, "functions"),
        ({"functions": (hang, print)}, "functions"),
        ({"functions": ("hang",)}, "functions"),
        ({"processes": 0}, "processes"),
        ({"processes": 2.0}, "processes"),
        ({"restarts": -1}, "restarts"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": None}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"stored": "unknown"}, "stored"),
    ],
)
def test_refuses(wrong, name, monkeypatch):
    monkeypatch.setattr(processes, "_run", lambda *_: pytest.fail("it runs"))
    given = {"functions": (hang,), "processes": 2} | wrong
    with pytest.raises(ValueError, match=f"^{name} must be "):
        torchrun(*given.pop("functions"), **given)
