"""`evaluate` and `StreamingScores` in groups of several processes."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, Subset, TensorDataset

from helpers.metrics import evaluate
from helpers.processes import torchrun

SIZES = [1, 2, 3, 10, 23]


def data(rows):
    """Inputs and targets with an absent label, in which logits need no rounding."""
    random = np.random.default_rng(rows)
    inputs = torch.from_numpy(random.integers(-8, 9, (rows, 5)) / 4)
    targets = torch.from_numpy(random.random((rows, 4)) < [0.5, 0.3, 0.1, 0])
    return TensorDataset(inputs, targets)


def model():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_((8 * parameter).round() / 8)
    return made


def tables(found):
    return {name: getattr(found, name).to_numpy() for name in ("scores", "labels")}


def share_of(dataset, batch_size=3):
    """This rank's rows, or all of them where there is one process."""
    rank, world = 0, 1
    if dist.is_initialized():
        rank, world = dist.get_rank(), dist.get_world_size()
    rows = range(rank, len(dataset), world)
    return rows, DataLoader(Subset(dataset, rows), batch_size)


def every_size(sizes):
    """Of each number of rows the scores with intervals, by rows and by groups."""
    from helpers.metrics import evaluate
    from helpers.streaming import StreamingScores

    found = {}
    for size in sizes:
        rows, loader = share_of(data(size))
        found[f"{size}, rows"] = tables(evaluate(model(), loader, resamples=100))
        streamed = StreamingScores(4, threshold=0.4, bins=64)
        for inputs, targets in loader:
            streamed.update(model().eval()(inputs), targets)
        found[f"{size}, streamed"] = tables(streamed.compute())
        assert str(tables(streamed.compute())) == str(found[f"{size}, streamed"])
        if size > 2:
            groups = [row // 2 for row in rows]
            options = {"threshold": 0.4, "groups": groups, "resamples": 100, "seed": 3}
            found[f"{size}, groups"] = tables(
                evaluate(model(), loader, names=list("dcba"), **options)
            )
    return found


def fails(problem):
    class Fails(nn.Module):
        def forward(self, inputs):
            if problem == "raises":
                raise RuntimeError("out of memory")
            return inputs * float("nan") if problem == "nan" else inputs

    return Fails()


def refusals():
    """What is said of each mistake; the group goes on after each."""
    from helpers.metrics import evaluate
    from helpers.streaming import StreamingScores

    second, heard = dist.get_rank() == 1, {}

    def refused(mistake, call, *arguments, **options):
        try:
            call(*arguments, **options)
            heard[mistake] = "nothing"
        except ValueError as error:
            heard[mistake] = str(error)
            if error.__cause__:
                heard[mistake] += f" <- {type(error.__cause__).__name__}"

    dataset = data(9)
    rows, loader = share_of(dataset)
    options = {"resamples": 0}
    refused("nothing", evaluate, model(), loader, **options)
    for problem in ("raises", "nan"):
        failing = fails(problem if second else None)
        refused(problem, evaluate, failing, [(torch.zeros(2, 4),) * 2], **options)
        assert failing.training
    bad = [(torch.zeros(1, 5).double(), torch.full((1, 4), 0.5))]
    refused("targets", evaluate, model(), bad if second else loader, **options)
    for drop_last in (False, True):
        sampler = DistributedSampler(dataset, shuffle=False, drop_last=drop_last)
        sampled = DataLoader(dataset, 3, sampler=sampler)
        refused(f"drop_last={drop_last}", evaluate, model(), sampled, **options)
    by_row = DataLoader(dataset, None, sampler=sampler)
    refused("batch_size=None", evaluate, model(), by_row, **options)
    even = data(10)
    sampled = DataLoader(even, 3, sampler=DistributedSampler(even, shuffle=False))
    refused("even", evaluate, model(), sampled, **options)
    refused("not shared", evaluate, model(), DataLoader(dataset, 3), **options)
    shuffled = torch.Generator().manual_seed(dist.get_rank())
    shuffled = DataLoader(dataset, 3, shuffle=True, generator=shuffled)
    refused("shuffled", evaluate, model(), shuffled, **options)
    alike = [(torch.zeros(2, 4), torch.zeros(2, 4))]
    refused("alike", evaluate, nn.Identity(), alike, **options)
    constant = [(torch.zeros(2, 4), torch.eye(2, 4))]
    refused("constant", evaluate, nn.Identity(), constant, **options)
    refused("no rows", evaluate, model(), [], **options)
    refused("no model", evaluate, None if second else model(), loader, **options)
    for name in ("0.bias", "1.running_mean"):
        changed = model()
        if second:
            changed.state_dict()[name].add_(1)
        refused(name, evaluate, changed, loader, **options)
    columns = [(torch.eye(3, 4 - second),) * 2]
    refused("columns", evaluate, nn.Identity(), columns, **options)
    some = None if second else [*rows]
    refused("some groups", evaluate, model(), loader, groups=some, **options)
    short = rows[1:] if second else rows
    refused("short groups", evaluate, model(), loader, groups=[*short], **options)
    one = [0 for _ in rows]
    refused("one group", evaluate, model(), loader, groups=one, **options)

    for name, options_of in {
        "labels": {"labels": 4 + second},
        "bins": {"bins": 2 + second},
        "threshold": {"threshold": 0.5 + second / 4},
        "names": {"names": ["abcd", "abdc"][second]},
    }.items():
        refused(name, StreamingScores(**{"labels": 4} | options_of).compute)
    streamed = StreamingScores(4)
    streamed.update(
        torch.rand(2, 4).to([torch.float32, torch.float64][second]), alike[0][1]
    )
    refused("dtype", streamed.compute)
    refused("no rows streamed", StreamingScores(4).compute)
    streamed = StreamingScores(4)
    streamed.update(model().eval()(dataset[:][0]), dataset[:][1])
    refused("streamed by all", streamed.compute)
    wrapped = DistributedDataParallel(model())
    one_wrapped = [wrapped, wrapped.module][second]
    refused("one wrapped", evaluate, one_wrapped, loader, **options)
    one_wrapped = None if second else wrapped
    refused("wrapped or none", evaluate, one_wrapped, loader, **options)
    wrapped.module[1].running_mean += dist.get_rank()
    parts = Subset(dataset, [range(9), range(0)][second])
    found = evaluate(wrapped, DataLoader(parts, 1), **options)
    return heard, tables(found), wrapped.training and wrapped.module.training


def two_ranks(sizes):
    return every_size(sizes), refusals()


RANK_1 = "rank 1: ValueError: "
USE = "use Subset(data, range(rank, len(data), world))"
MODEL = "model must be the same on every rank, but parameters or buffers differ"
COLUMNS = "logits must have as many columns, and groups be given or not, on every rank"
SAID = {
    "nothing": "nothing",
    "raises": "rank 1: RuntimeError: out of memory",
    "nan": RANK_1 + "logits must be finite",
    "targets": RANK_1 + "targets must be a tensor or NumPy array of 0 and 1",
    "drop_last=False": f"loader's DistributedSampler makes 10 rows of 9: {USE} without",
    "drop_last=True": f"loader's DistributedSampler makes 8 rows of 9: {USE} without",
    "batch_size=None": f"loader's DistributedSampler makes 8 rows of 9: {USE} without",
    "even": "nothing",
    "not shared": f"loader must yield a share on every rank: {USE}",
    "shuffled": f"loader must yield a share on every rank: {USE}",
    "alike": "nothing",
    "constant": "nothing",
    "no rows": "loader must yield at least one batch on some rank, got none",
    "no model": RANK_1 + "model must be a torch.nn.Module, got NoneType",
    "0.bias": MODEL,
    "1.running_mean": MODEL,
    "columns": COLUMNS,
    "some groups": COLUMNS,
    "short groups": RANK_1 + "groups must have one entry for each of the 4 rows",
    "one group": "groups must hold at least two different values",
    **dict.fromkeys(
        ["labels", "bins", "threshold", "names"],
        "labels, bins, threshold, names must not differ by rank",
    ),
    "dtype": "logits must have one dtype on all ranks",
    "one wrapped": "nothing",
    "wrapped or none": RANK_1 + "model must be a torch.nn.Module, got NoneType",
    "no rows streamed": "update must have seen 1 to",
    "streamed by all": f"update must see a share on every rank: {USE}",
}


@pytest.fixture(scope="module")
def of_two():
    parts = two_ranks, every_size, refusals, data, model, tables, share_of, fails
    return torchrun(*parts, processes=2, timeout=120, sizes=SIZES)


def test_the_same_digits_on_every_rank_as_in_one_process(of_two):
    alone = every_size(SIZES)
    assert len(alone) == 13
    of_three = torchrun(
        *(every_size, data, model, tables, share_of),
        processes=3,
        timeout=120,
        sizes=SIZES,
    )
    for found in [*of_three, *(found for found, _ in of_two)]:
        assert found.keys() == alone.keys()
        for case, want in alone.items():
            for table in want:
                np.testing.assert_array_equal(found[case][table], want[table], case)


def test_refused_on_every_rank_and_the_group_goes_on(of_two):
    (_, first), (_, second) = of_two
    assert first[0].keys() == second[0].keys() == SAID.keys()
    for mistake, said in SAID.items():
        assert said in first[0][mistake] and said in second[0][mistake], mistake
    assert first[0]["raises"] == SAID["raises"]
    assert second[0]["raises"] == SAID["raises"] + " <- RuntimeError"
    inputs, targets = data(9).tensors
    alone = evaluate(model(), [(inputs, targets)], resamples=0)
    for _, found, training in (first, second):
        assert training
        for table, want in tables(alone).items():
            np.testing.assert_allclose(found[table], want, rtol=1e-12)
