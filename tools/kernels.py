"""Run notebooks, each in a kernel of its own, and compare outputs with stored ones."""

import base64
import copy
import difflib
import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell
from PIL import Image

from cells import code, tags
from editions import data_of

AT_ONCE = 2  # notebooks: each computes on one thread
ANSI_COLOUR = re.compile(r"\x1b\[[\d;]*m")

# How alike two drawings of one figure are at least, as a correlation of their
# thumbnails: with the locked packages, and with others. Measured: .9995 and .89; two
# different figures of the book reach .62.
ALIKE, ALIKE_ELSEWHERE = 0.99, 0.8
THUMBNAIL = 24  # pixels a side

# Runs before the first cell of a notebook. It looks at the text of each figure, and
# watches chance: a cell that takes it from a generator that all share must seed it
# itself, else its numbers depend on the cells before it.
WATCH = """
import os as _os, random as _random, sys as _sys

_chance, _ran = [], []

def _shared_states():
    states = {"random": _random.getstate()}
    if "numpy" in _sys.modules:
        _, keys, position, *_ = _sys.modules["numpy"].random.get_state()
        states["numpy.random"] = position, keys.tobytes()
        # If it was just imported, it stands at its last key as long as it is unused.
        _before.setdefault("numpy.random", (len(keys) - 1, keys.tobytes()))
    torch = _sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_rng_state"):
        states["torch"] = torch.get_rng_state().numpy().tobytes()
        fresh = torch.Generator().manual_seed(torch.initial_seed()).get_state()
        _before.setdefault("torch", fresh.numpy().tobytes())
    return states

_before = {}

def _note(info):
    _before.clear()
    _before.update(_shared_states())

def _compare(result):
    _ran.append(CELLS[len(_ran)])
    now = _shared_states()
    taken = [name for name in now if _before.get(name, now[name]) != now[name]]
    if taken and "seed(" not in result.info.raw_cell:
        _chance.append((_ran[-1], *taken))

get_ipython().events.register("pre_run_cell", _note)
get_ipython().events.register("post_run_cell", _compare)

_faults, _format = [], get_ipython().display_formatter.format

def _look(shown, *arguments, **options):
    if type(shown).__name__ == "Figure":
        _sys.path.append(TOOLS)
        from figures import faults
        _sys.path.remove(TOOLS)
        _faults.extend(f"{CELLS[len(_ran)]}: {fault}" for fault in faults(shown))
    return _format(shown, *arguments, **options)

get_ipython().display_formatter.format = _look

_read = set()

def _open(event, arguments):
    if event == "open" and arguments[1] in ("r", "rb"):
        folder, name = _os.path.split(str(arguments[0]))
        if folder.endswith(_os.path.join("helpers", "data")):
            _read.add(name)

_sys.addaudithook(_open)
"""

# Runs after the last cell.
AUDIT = """
import numpy as _numpy, threadpoolctl as _pools  # at least NumPy has threads
from helpers.exercises import Exercise as _Exercise

assert not _chance, f"cells that draw from a shared generator unseeded: {_chance}"
assert not _faults, "text in figures: " + "; ".join(_faults)

# What the self-contained notebook carries: the checksums are for a cell that its reader
# switches on.
_carried = set(DATA) - {"cue_conflict_sha256.txt"}
assert _read == _carried, f"reads {sorted(_read)}, would carry {sorted(_carried)}"

_threads = {pool["filepath"]: pool["num_threads"] for pool in _pools.threadpool_info()}
assert _threads and set(_threads.values()) == {1}, f"not on one thread: {_threads}"

_checks = {name: check for name, check in globals().items() if type(check) is _Exercise}
assert sorted(_checks) == [f"check_{number + 1}" for number in range(EXERCISES)]
for _name, _check in _checks.items():
    assert _check.hints or _check.each, f"{_name} has no hint"
    _answers = [(..., "not answered yet."), (None, "not answered yet.")]
    _answers += [(wrong, f"not yet. {hint}") for wrong, hint in _check.hints]
    _answers += [(globals()[_name.replace("check", "solution")], "right.")]
    for _answer, _expected in _answers:
        _said = _check.verdict(_answer)
        assert _said == _expected, f"{_name} says of {_answer}: {_said!r}"
"""


def execute(notebook, folder, *, seed=None, audit=False, go_on=False):
    """Run every cell of `notebook` in a new kernel that starts in `folder`.

    Its outputs are replaced. seed: the book's first seed, by default the stored
    outputs' own. audit: watch the chance, and try every exercise at the end. go_on:
    do not stop at a claim that fails. Returns None, or a text that names the failing
    cell and its error.
    """
    for cell in code(notebook):
        cell.outputs, cell.execution_count = [], None
    run = notebook
    if audit:
        exercises = sum("solution" in tags(cell) for cell in notebook.cells)
        last = AUDIT.replace("EXERCISES", str(exercises))
        last = last.replace("DATA", str(data_of(notebook)))
        names = ["watch", *(cell.id for cell in code(notebook)), "audit"]
        tools = repr(str(Path(__file__).parent))
        first = WATCH.replace("CELLS", str(names)).replace("TOOLS", tools)
        run = copy.copy(notebook)
        run.cells = [
            new_code_cell(first, id="watch"),
            *notebook.cells,
            new_code_cell(last, id="audit"),
        ]
    client = NotebookClient(
        run,
        kernel_name="python3",
        timeout=600,
        store_widget_state=False,
        allow_error_names=["ClaimFailed"] if go_on else [],
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--Application.log_level=ERROR"],
    )
    environment = {key: text for key, text in os.environ.items() if key != "BOOK_SEED"}
    if seed is not None:
        environment["BOOK_SEED"] = str(seed)
    try:
        client.execute(env=environment)
    except CellExecutionError:
        return last_error(run)
    except (CellTimeoutError, DeadKernelError) as error:
        return f"{type(error).__name__}: {error}"
    for number, cell in enumerate(code(notebook), 1):
        cell.execution_count = number
        cell.outputs = merge_streams(cell.outputs)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number


def only_exercises(notebook):
    """A copy with the setup cell and the exercises: answers, checks, solutions."""
    alone = copy.deepcopy(notebook)
    alone.cells = [
        cell
        for cell in code(alone)
        if cell.id == "bootstrap"
        or re.search(r"\b(answer|check|solution)_\d+\b", cell.source)
    ]
    return alone


def last_error(notebook):
    """What stopped a run: claims that failed before it may have been let pass."""
    for cell in reversed(code(notebook)):
        for output in cell.outputs:
            if output.output_type == "error":
                trace = "\n".join(output.traceback)
                text = f"cell {cell.id!r} raised {output.ename}: {output.evalue}"
                return ANSI_COLOUR.sub("", f"{text}\n{trace}")


def two_at_a_time(function, items):
    """The results of function(item), in the order of `items`, as they come."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(function, items)


def differences(stored, again, at_least=ALIKE):
    """What the outputs of two runs of a notebook differ in: a text for each cell.

    at_least: how alike their figures must be.
    """
    found = []
    for before, now in zip(code(stored), code(again), strict=True):
        if before.id == "bootstrap":
            continue  # it says what it found on this machine
        old, new = as_text(before.outputs), as_text(now.outputs)
        if old != new:
            lines = difflib.unified_diff(old, new, "stored", "now", lineterm="", n=1)
            found.append(
                f"cell {before.id!r} gives something else:\n" + "\n".join(lines)
            )
        pictures = [pictures_of(cell.outputs) for cell in (before, now)]
        if len(pictures[0]) != len(pictures[1]):
            found.append(f"cell {before.id!r} draws another number of figures")
        elif not all(alike(*pair, at_least) for pair in zip(*pictures)):
            found.append(
                f"cell {before.id!r} draws another figure than the stored one: "
                "look at it, and store it with `make notebooks`"
            )
    return found


def as_text(outputs):
    """Everything of a cell's outputs but the pictures, line by line."""
    lines = []
    for output in merge_streams(outputs):
        if output.output_type == "stream":
            lines += [f"{output.name}: {line}" for line in output.text.splitlines()]
        for kind, text in sorted(output.get("data", {}).items()):
            if kind != "image/png":
                lines += [f"{kind}: {line}" for line in str(text).splitlines()]
        if claim := output.get("metadata", {}).get("claim"):
            lines += [f"metadata: {name}: {claim[name]}" for name in sorted(claim)]
        if output.output_type == "error":
            lines.append(f"error: {output.ename}: {output.evalue}")
    return lines


def merge_streams(outputs):
    """Join what one stream printed: it arrives in pieces that depend on the moment."""
    merged = []
    for output in outputs:
        last = merged[-1] if merged else None
        if (
            last is not None
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
        else:
            merged.append(copy.copy(output))
    return merged


def pictures_of(outputs):
    return [
        output.data["image/png"]
        for output in outputs
        if "image/png" in output.get("data", {})
    ]


def alike(one, other, at_least=ALIKE):
    """Whether two PNGs, in base64, are drawings of one figure."""
    small, other = thumbnail(one), thumbnail(other)
    return np.array_equal(small, other) or np.corrcoef(small, other)[0, 1] >= at_least


def thumbnail(png):
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    small = picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small).ravel()
