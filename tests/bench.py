"""The speed of the book, as `make bench` measures it: each line is a measurement and its bound, and a missed bound fails.

Run it on a machine with two idle cores: with fewer, or beside other work, the bounds do not hold.
With --write, the seconds that the notebooks took are written into their headers.
"""

import argparse
import math
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import gymnasium
import nbformat
import numpy as np
import torch
from sklearn.metrics import precision_recall_curve
from test_decide import by_scikit_learn
from torch import nn
from torch.nn import functional as F

from helpers import actuators
from helpers.decide import best_cuts
from helpers.labels import RULES, categories, category_probabilities
from helpers.seeds import seeded, train

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import notebooks  # noqa: E402

SEEDS, CLASSES, STEPS, BATCH, REPEATS = 20, 100, 200, 64, 7
ROWS, LOOPED, CUT = 50_000, 5_000, 40
PLANTS, FEW_PLANTS, POLICY_SEEDS = 4096, 64, 16
HEADER_SECONDS = re.compile(r"\| (\d+) s \|")


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def network():
    return nn.Sequential(
        nn.Linear(20, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, CLASSES),
    )


def bce_sum(logits, targets):
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(
        logits
    )


def one_seed(inputs, targets):
    """The loop that the chapter shows, and that a reader would write."""
    model = seeded(network, 0)
    step = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in torch.randint(
        len(inputs), (STEPS, BATCH), generator=torch.Generator().manual_seed(0)
    ):
        step.zero_grad()
        bce_sum(model(inputs[batch]), targets[batch]).backward()
        step.step()


def many_seeds(inputs, targets):
    train(
        network,
        bce_sum,
        inputs,
        targets,
        seeds=range(SEEDS),
        steps=STEPS,
        batch_size=BATCH,
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )


def seeds_ratio():
    inputs = torch.randn(SEEDS, 4000, 20, dtype=torch.float64)
    targets = F.one_hot(torch.randint(CLASSES, (SEEDS, 4000)), CLASSES).double()
    # In turns, so that both meet the same machine; the shortest of several is the least disturbed.
    pairs = [
        (
            seconds(partial(one_seed, inputs[0], targets[0])),
            seconds(partial(many_seeds, inputs, targets)),
        )
        for _ in range(REPEATS)
    ]
    alone, together = map(min, zip(*pairs))
    return together / alone


def scores():
    """Probabilities (ROWS, 1000), made in place: the peak of the memory so far is no higher than what they take."""
    made = torch.rand(
        ROWS, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return made.div_(made.sum(-1, keepdim=True))


def remapping_ratio():
    probabilities, members = scores(), list(categories().values())
    some = probabilities[:LOOPED].numpy()

    def loop():
        """As the authors of the data set describe it."""
        return np.array(
            [[np.mean(np.take(row, indices)) for indices in members] for row in some]
        )

    assert (
        np.abs(loop() - category_probabilities(probabilities)[:LOOPED].numpy()).max()
        < 1e-12
    )
    pairs = [
        (seconds(loop), seconds(partial(category_probabilities, probabilities)))
        for _ in range(REPEATS)
    ]
    alone, together = map(min, zip(*pairs))
    return alone * ROWS / LOOPED / together


def remapping_peak():
    """The peak of the memory while scores are remapped by each rule in turn, as a multiple of what the scores take."""

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for rule in RULES:  # what is allocated once and for all
        category_probabilities(torch.eye(1000, dtype=torch.float64), rule)
    before = peak()
    probabilities = scores()
    with_scores = peak()
    for rule in RULES:
        category_probabilities(probabilities, rule)
    return (peak() - before) / (with_scores - before)


def validation():
    """Scores and targets (ROWS, 1000) in float32, made in place; labels of 0.1 % to 50 % positives, and every second one's scores have ties."""
    random = torch.Generator().manual_seed(0)
    targets = torch.rand(ROWS, 1000, generator=random).lt_(
        torch.logspace(-3, math.log10(0.5), 1000)
    )
    made = torch.randn(ROWS, 1000, generator=random).add_(targets)
    made[:, ::2].mul_(1000).round_().div_(1000)
    return made, targets


def cutting_ratio():
    made, targets = validation()
    some = [
        (targets[:, k].numpy(), made[:, k].numpy()) for k in range(0, 1000, 1000 // CUT)
    ]

    def loop():
        for true, column in some:
            precision_recall_curve(true, column)

    cuts, f = (found[:: 1000 // CUT].tolist() for found in best_cuts(made, targets))
    assert list(zip(cuts, f)) == [
        by_scikit_learn(column, true, 1) for true, column in some
    ]
    pairs = [
        (seconds(loop), seconds(partial(best_cuts, made, targets)))
        for _ in range(REPEATS)
    ]
    alone, together = map(min, zip(*pairs))
    return alone * 1000 / CUT / together


def cutting_peak():
    """The peak of the memory with scores, targets and the search for cuts, as a multiple of what the scores take."""

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    best_cuts(
        torch.rand(ROWS, 1), torch.ones(ROWS, 1)
    )  # what is allocated once and for all
    before = peak()
    made, targets = validation()
    best_cuts(made, targets)
    return (peak() - before) / made.nbytes


def plants_ratio():
    """Steps a second of many tanks at once, as a multiple of those in gymnasium's own vector environment, which steps them in turn."""

    def run(environments):
        environments.reset(seed=0)
        valves = environments.action_space.sample()
        for _ in range(actuators.Tanks.steps):
            environments.step(valves)

    ours = actuators.ActuatorVectorEnv(actuators.Tanks(), PLANTS)
    theirs = gymnasium.vector.SyncVectorEnv(
        [lambda: actuators.ActuatorEnv(actuators.Tanks())] * FEW_PLANTS
    )
    pairs = [
        (seconds(partial(run, theirs)), seconds(partial(run, ours)))
        for _ in range(REPEATS)
    ]
    in_turn, at_once = map(min, zip(*pairs))
    return (in_turn / FEW_PLANTS) / (at_once / PLANTS)


def policies_ratio():
    """Policy gradient on the tanks: seeds together, as a multiple of one."""

    def learn(seeds):
        actuators.train(
            actuators.Tanks(),
            actuators.Factorised(6),
            policy_network,
            seeds=seeds,
            updates=5,
            episodes=64,
            optimizer=torch.optim.Adam,
        )

    pairs = [
        (seconds(partial(learn, [0])), seconds(partial(learn, range(POLICY_SEEDS))))
        for _ in range(REPEATS)
    ]
    alone, together = map(min, zip(*pairs))
    return together / alone


def policy_network():
    return nn.Sequential(
        nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 6)
    )


def in_a_new_process(function):
    """One that the server of processes forks: others begin with the peak of this one."""
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        return pool.apply(function)


def run_notebook(path):
    """Its seconds, from an empty kernel to the last cell."""
    notebook = nbformat.read(path, as_version=4)

    def run():
        if problem := notebooks.execute(notebook, path.parent):
            sys.exit(f"{path.name}: {problem}")

    return seconds(run)


def stated_seconds(path):
    """What the chapter's header says, in the table cell under "runs in"."""
    stated = HEADER_SECONDS.findall(nbformat.read(path, as_version=4).cells[0].source)
    if len(stated) != 1:
        sys.exit(
            f"{path.name}: the first cell must hold the seconds once, in a table cell as `| 40 s |`, and holds them {len(stated)} times"
        )
    return int(stated[0])


def write_seconds(path, measured):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = HEADER_SECONDS.sub(
        f"| {measured} s |", notebook.cells[0].source
    )
    notebooks.write(path, notebooks.normal_form(path, notebook))


def build_book():
    with tempfile.TemporaryDirectory() as folder:
        command = [
            Path(sys.executable).with_name("jupyter-book"),
            "build",
            ".",
            "--path-output",
            folder,
            "-W",
            "-n",
            "--keep-going",
            "-q",
        ]
        built = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if (
            built.returncode
            or not (Path(folder) / "_build" / "html" / "index.html").exists()
        ):
            sys.exit(f"the book does not build:\n{built.stdout}")


def main():
    parser = argparse.ArgumentParser(description="Measure the speed of the book.")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write the notebooks' seconds into their headers",
    )
    write = parser.parse_args().write
    os.environ.pop("BOOK_SEED", None)
    chapters = {
        path: stated_seconds(path) for path in sorted((ROOT / "book").glob("*.ipynb"))
    }
    missed = []

    def report(what, measured, bound, unit, at="at most"):
        print(f"{what:82s}{measured:7.2f}{unit} ({at} {bound}{unit})", flush=True)
        if measured > bound if at == "at most" else measured < bound:
            missed.append(what)

    report(
        f"{SEEDS} seeds trained together / one seed in a plain loop",
        seeds_ratio(),
        7,
        "x",
    )
    what = f"the plain loop (timed on {LOOPED:,} rows) / category_probabilities, {ROWS:,} x 1000 scores"
    report(what, remapping_ratio(), 50, "x", "at least")
    report(
        f"peak memory of category_probabilities, {ROWS:,} x 1000 scores / the scores",
        in_a_new_process(remapping_peak),
        1.2,
        "x",
    )
    what = f"precision_recall_curve for each label (timed on {CUT} labels) / best_cuts, {ROWS:,} x 1000"
    report(what, cutting_ratio(), 5, "x", "at least")
    report(
        f"peak memory of best_cuts, {ROWS:,} x 1000, scores and targets included / the scores",
        in_a_new_process(cutting_peak),
        4,
        "x",
    )
    what = f"tank steps a second, {PLANTS:,} at once / {FEW_PLANTS} in gymnasium's SyncVectorEnv"
    report(what, plants_ratio(), 100, "x", "at least")
    report(
        f"{POLICY_SEEDS} policies trained together on the tanks / one",
        policies_ratio(),
        6,
        "x",
    )
    for path, stated in chapters.items():
        measured = run_notebook(path)
        report(f"{path.relative_to(ROOT)} from scratch", measured, 60, " s")
        whole = max(1, round(measured))
        if write:
            write_seconds(path, whole)
        elif not 1 / 1.5 <= whole / stated <= 1.5:
            print(f"  its header says {stated} s: try `python tests/bench.py --write`")
    report("the book, built from the stored outputs", seconds(build_book), 30, " s")
    if missed:
        sys.exit(f"out of bounds: {', '.join(missed)}")


if __name__ == "__main__":
    main()
