"""The speed of the book, as `make bench` measures it.

Each line is a measurement and its bound, and a missed bound fails. Everything is
measured on one thread. Run it on a machine with two idle cores: with fewer, or beside
other work, the bounds do not hold. With --write, the seconds that the notebooks take
on a slow machine are written into their headers.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, as in the notebooks

import argparse
import math
import multiprocessing
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from functools import partial
from pathlib import Path

import gymnasium
import nbformat
import numpy as np
import torch
import torch.distributed as dist
from sklearn.metrics import f1_score, precision_recall_curve
from torch import nn
from torch.nn import functional as F

from helpers import actuators, metrics
from helpers.decide import best_thresholds, expected_f_sets
from helpers.labels import RULES, categories, category_probabilities
from helpers.processes import torchrun
from helpers.seeds import seeded, train
from helpers.streaming import StreamingScores
from test_decide import by_double_loop, by_scikit_learn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import notebooks  # noqa: E402
from measure_scale import peak  # noqa: E402

SEEDS, CLASSES, STEPS, BATCH, REPEATS = 20, 100, 200, 64, 7
ROWS, LOOPED, TUNED, EXPECTED = 50_000, 5_000, 40, 10_000
LABELS, RESAMPLES, FEW_RESAMPLES = 100, 1000, 3
MANY_ROWS, BLOCK = 1_000_000, 1000
PLANTS, FEW_PLANTS, POLICY_SEEDS = 4096, 64, 16
# The seconds in a header hold for slow machines too. Two idle machines of one kind were
# up to this far apart.
SLOW = 1.8
HEADER_SECONDS = re.compile(r"\| (\d+) s \|")


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def fastest(*functions, rounds=REPEATS):
    """The shortest seconds of each: in turns, so that all meet the same machine."""
    return map(
        min, zip(*([seconds(each) for each in functions] for _ in range(rounds)))
    )


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


def products_of_many_seeds():
    """The matrix products of `many_seeds` and nothing else: its floor."""
    layers = [layer for layer in network() if isinstance(layer, nn.Linear)]
    weights = [
        layer.weight.double().T.expand(SEEDS, -1, -1).clone() for layer in layers
    ]
    for _ in range(STEPS):
        for number, weight in enumerate(weights):
            inputs = weight.new_ones(SEEDS, BATCH, weight.shape[1])
            outputs = torch.bmm(inputs, weight)
            torch.bmm(inputs.mT, outputs)  # the weights' gradient
            if number:
                torch.bmm(outputs, weight.mT)  # the inputs' gradient


def seeds_ratios():
    """Many seeds together, and their matrix products alone, in units of one seed."""
    inputs = torch.randn(SEEDS, 4000, 20, dtype=torch.float64)
    targets = F.one_hot(torch.randint(CLASSES, (SEEDS, 4000)), CLASSES).double()
    loops = (
        partial(one_seed, inputs[0], targets[0]),
        partial(many_seeds, inputs, targets),
        torch.no_grad()(products_of_many_seeds),
    )
    alone, together, products = fastest(*loops)
    return together / alone, products / alone


def scores():
    """Probabilities (ROWS, 1000), made in place: no more memory than they take."""
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
    alone, together = fastest(loop, partial(category_probabilities, probabilities))
    return alone * ROWS / LOOPED / together


def remapping_peak():
    """Peak memory while scores are remapped by each rule, in units of the scores."""

    for rule in RULES:  # what is allocated once and for all
        category_probabilities(torch.eye(1000, dtype=torch.float64), rule)
    before = peak()
    probabilities = scores()
    with_scores = peak()
    for rule in RULES:
        category_probabilities(probabilities, rule)
    return (peak() - before) / (with_scores - before)


def validation():
    """Scores and targets (ROWS, 1000) in float32, made in place.

    Labels of 0.1 % to 50 % positives; every second one's scores have ties.
    """
    random = torch.Generator().manual_seed(0)
    targets = torch.rand(ROWS, 1000, generator=random).lt_(
        torch.logspace(-3, math.log10(0.5), 1000)
    )
    made = torch.randn(ROWS, 1000, generator=random).add_(targets)
    made[:, ::2].mul_(1000).round_().div_(1000)
    return made, targets


def tuning_ratio():
    made, targets = validation()
    some = [
        (targets[:, k].numpy(), made[:, k].numpy())
        for k in range(0, 1000, 1000 // TUNED)
    ]

    def loop():
        for true, column in some:
            precision_recall_curve(true, column)

    thresholds, f = (
        found[:: 1000 // TUNED].tolist() for found in best_thresholds(made, targets)
    )
    assert list(zip(thresholds, f)) == [
        by_scikit_learn(column, true, 1) for true, column in some
    ]
    alone, together = fastest(loop, partial(best_thresholds, made, targets))
    return alone * 1000 / TUNED / together


def tuning_peak():
    """Peak memory with scores, targets and the search, in units of the scores."""

    best_thresholds(
        torch.rand(ROWS, 1), torch.ones(ROWS, 1)
    )  # what is allocated once and for all
    before = peak()
    made, targets = validation()
    best_thresholds(made, targets)
    return (peak() - before) / made.nbytes


def expected_f_ratio():
    """Of EXPECTED rows with 100 labels, some of them rare and some frequent."""
    p = np.random.default_rng(0).beta(0.3, 2, (EXPECTED, 100))
    some = p[:: EXPECTED // 20]

    def loop():
        return [by_double_loop(row, 1) for row in some]

    assert expected_f_sets(some).sum(1).tolist() == loop()
    alone, together = fastest(loop, partial(expected_f_sets, p))
    return alone * EXPECTED / len(some) / together


def label_sets():
    """Predictions and targets (ROWS, LABELS), booleans."""
    random = np.random.default_rng(0)
    targets, predicted = np.empty((2, ROWS, LABELS), bool)
    for true, said in zip(targets.T, predicted.T):  # in place: no more memory
        true[:] = random.random(ROWS) < 0.05
        said[:] = true ^ (random.random(ROWS) < 0.03)
    return predicted, targets


def bootstrap_ratio():
    """Micro, macro and samples F of resamples: with scikit-learn / `bootstrap_f`."""
    predicted, targets = label_sets()
    group = np.arange(ROWS)
    weights = next(metrics._draws(group, FEW_RESAMPLES, 0, LABELS))
    drawn = [np.repeat(group, resample.astype(int)) for resample in weights.T]

    def loop():
        return [
            [
                f1_score(
                    targets[rows], predicted[rows], average=average, zero_division=1.0
                )
                for average in ("micro", "macro", "samples")
            ]
            for rows in drawn
        ]

    of_rows = metrics._f_of_rows(predicted, targets, 1.0)
    ours = metrics._scores(weights, predicted, targets, of_rows)[0][2:]
    assert np.abs(np.transpose(loop()) - ours).max() < 1e-12
    ours = partial(metrics.bootstrap_f, predicted, targets, resamples=RESAMPLES)
    in_turn, together = fastest(loop, ours, rounds=3)
    return in_turn * RESAMPLES / FEW_RESAMPLES / together


def bootstrap_peak():
    """Peak memory that the intervals need beyond predictions and targets, in theirs."""

    few = np.eye(20, dtype=bool)
    metrics.bootstrap_f(few, few)  # what is allocated once and for all
    before = peak()
    predicted, targets = label_sets()
    metrics.bootstrap_f(predicted, targets, resamples=RESAMPLES)
    return (peak() - before) / (predicted.nbytes + targets.nbytes) - 1


def evaluation_seconds():
    """Of evaluate, on this rank's share of rows that are many for its model."""
    from helpers.metrics import evaluate

    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 8192), nn.ReLU(), nn.Linear(8192, 5))
    inputs, targets = torch.randn(20_000, 256), torch.rand(20_000, 5) < 0.1
    share = inputs[rank::world].split(500), targets[rank::world].split(500)
    seconds = []
    for _ in range(6):  # the first warms up
        dist.barrier()
        start = time.perf_counter()
        evaluate(model, zip(*share), resamples=0)
        dist.barrier()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def evaluation_ratio():
    """Evaluation in one process / in two, each on one thread."""
    alone, two = (torchrun(evaluation_seconds, processes=n)[0] for n in (1, 2))
    return alone / two


def streaming():
    """Of MANY_ROWS x 1000: seconds of StreamingScores, of drawing them; peak bytes."""
    random = torch.Generator().manual_seed(0)
    prevalence = torch.logspace(-4, math.log10(0.5), 1000)
    targets = torch.empty(BLOCK, 1000, dtype=torch.bool)
    logits, made = torch.empty(BLOCK, 1000), torch.empty(BLOCK, 1000)
    scores = StreamingScores(1000)

    def draw():  # in place
        torch.lt(made.uniform_(generator=random), prevalence, out=targets)
        logits.normal_(generator=random).add_(targets, alpha=2)
        logits.add_(prevalence.logit())

    streamed = drawn = 0
    for _ in range(MANY_ROWS // BLOCK):
        drawn += seconds(draw)
        streamed += seconds(partial(scores.update, logits, targets))
    streamed += seconds(scores.compute)
    return streamed, drawn, peak()


def plants_ratio():
    """Steps a second of many tanks at once, in units of gymnasium's vector environment.

    That one steps them in turn.
    """

    def run(environments):
        environments.reset(seed=0)
        valves = environments.action_space.sample()
        for _ in range(actuators.Tanks.steps):
            environments.step(valves)

    ours = actuators.ActuatorVectorEnv(actuators.Tanks(), PLANTS)
    theirs = gymnasium.vector.SyncVectorEnv(
        [lambda: actuators.ActuatorEnv(actuators.Tanks())] * FEW_PLANTS
    )
    in_turn, at_once = fastest(partial(run, theirs), partial(run, ours))
    return (in_turn / FEW_PLANTS) / (at_once / PLANTS)


def policies_ratio():
    """Policy gradient on the tanks: seeds together, as a multiple of one."""

    def learn(seeds):
        actuators.reinforce(
            actuators.Tanks(),
            actuators.Factorised(6),
            policy_network,
            seeds=seeds,
            updates=5,
            episodes=64,
            optimizer=torch.optim.Adam,
        )

    alone, together = fastest(partial(learn, [0]), partial(learn, range(POLICY_SEEDS)))
    return together / alone


def policy_network():
    return nn.Sequential(
        nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 6)
    )


def in_a_new_process(function):
    """One that a server of processes forks: others begin with the peak of this one."""
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        return pool.apply(function)


def run_notebook(path):
    """Its seconds, from an empty kernel to the last cell: nobody waits for its end."""
    notebook = nbformat.read(path, as_version=4)
    start = time.time()
    if problem := notebooks.execute(notebook, path.parent):
        sys.exit(f"{path.name}: {problem}")
    *_, last = (cell for cell in notebook.cells if cell.cell_type == "code")
    ended = last.metadata["execution"]["shell.execute_reply"]
    return datetime.fromisoformat(ended).timestamp() - start


def stated_seconds(path):
    """What the chapter's header says, in the table cell under "runs in"."""
    stated = HEADER_SECONDS.findall(nbformat.read(path, as_version=4).cells[0].source)
    if len(stated) != 1:
        sys.exit(
            f"{path.name}: the first cell must hold the seconds once, in a table cell "
            f"as `| 40 s |`, and holds them {len(stated)} times"
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
        jupyter_book = Path(sys.executable).with_name("jupyter-book")
        strict = ["-W", "-n", "--keep-going", "-q"]
        built = subprocess.run(
            [jupyter_book, "build", ".", "--path-output", folder, *strict],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        front = Path(folder) / "_build" / "html" / "index.html"
        if built.returncode or not front.exists():
            sys.exit(f"the book does not build:\n{built.stdout}")


def measurements():
    """The lines: (what, its value, unit, "at most" or "at least", bound)."""
    size = f"{ROWS:,} x 1000 scores"
    what = f"{SEEDS} seeds trained together / one seed in a plain loop"
    together, products = seeds_ratios()
    yield what, together, "x", "at most", 16
    what = f"the matrix products alone of {SEEDS} seeds / one seed in a plain loop"
    yield what, products, "x", "at most", 8
    what = f"a plain loop (timed on {LOOPED:,} rows) / category_probabilities, {size}"
    yield what, remapping_ratio(), "x", "at least", 50
    what = f"peak memory of category_probabilities, {size} / the scores"
    yield what, in_a_new_process(remapping_peak), "x", "at most", 1.2
    what = f"precision_recall_curve (timed on {TUNED} labels) / best_thresholds, {size}"
    yield what, tuning_ratio(), "x", "at least", 5
    what = f"peak memory of best_thresholds with its arguments, {size} / the scores"
    yield what, in_a_new_process(tuning_peak), "x", "at most", 4
    what = f"a double loop (timed on 20 rows) / expected_f_sets, {EXPECTED:,} x 100"
    yield what, expected_f_ratio(), "x", "at least", 20
    size = f"{ROWS:,} x {LABELS}, {RESAMPLES:,} resamples"
    what = f"F by scikit-learn (timed on {FEW_RESAMPLES}) / bootstrap_f, {size}"
    yield what, bootstrap_ratio(), "x", "at least", 30
    what = f"peak memory of bootstrap_f beyond its arguments, {size} / these"
    yield what, in_a_new_process(bootstrap_peak), "x", "at most", 4
    what = "evaluation of rows for which a model needs long, one process / two"
    yield what, evaluation_ratio(), "x", "at least", 1.6
    size = f"{MANY_ROWS:,} x 1000 scores"
    streamed, drawn, most = in_a_new_process(streaming)
    what = f"peak memory of a process that streams {size}"
    yield what, most / 1e9, " GB", "at most", 1.5
    yield f"StreamingScores, {size}", streamed, " s", "at most", 60
    what = f"StreamingScores, {size} / drawing them at random"
    yield what, streamed / drawn, "x", "at most", 2
    what = f"tank steps a second, {PLANTS:,} at once / {FEW_PLANTS} in SyncVectorEnv"
    yield what, plants_ratio(), "x", "at least", 100
    what = f"{POLICY_SEEDS} policies trained together on the tanks / one"
    yield what, policies_ratio(), "x", "at most", 6
    yield (
        "the book, built from the stored outputs",
        seconds(build_book),
        " s",
        "at most",
        30,
    )


def main():
    parser = argparse.ArgumentParser(description="Measure the speed of the book.")
    parser.add_argument("--write", action="store_true", help="write the headers")
    write = parser.parse_args().write
    missed = []

    def report(what, value, unit, at, bound):
        print(f"{what:80s}{value:7.2f}{unit} ({at} {bound}{unit})", flush=True)
        if (value > bound) if at == "at most" else (value < bound):
            missed.append(what)

    for line in measurements():
        report(*line)
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        stated, measured = stated_seconds(path), run_notebook(path)
        most = 60 if path.stem == "scale_out" else 30  # it starts other processes
        report(f"{path.name} from scratch", measured, " s", "at most", most)
        slow = 5 * math.ceil(SLOW * measured / 5)
        if write:
            write_seconds(path, slow)
        elif not measured <= stated <= 2 * slow:
            print(f"  its header says {stated} s: try `python tests/bench.py --write`")
    if missed:
        sys.exit(f"out of bounds: {', '.join(missed)}")


if __name__ == "__main__":
    main()
