"""Seconds and megabytes over numbers of labels, as `make scale` measures them.

A training step and an evaluation, each in a process of its own, on one thread: seconds
of the processor, and by how much the process grew. Two minutes and 1 GB.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

LABELS = (100, 1_000, 10_000, 100_000)
ROWS, WIDTH, BLOCK = 256, 64, 256
EVALUATED = 2_000  # rows of an evaluation
MILLION = "streaming, 1,000,000 rows"
TABLE = Path(__file__).resolve().parent.parent / "helpers" / "data" / "scale.csv"
MOST = {"exact evaluation": 10_000}  # ten times as many would take six minutes


def peak():
    """The most memory this process has had, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024)


def measure(what, labels):
    import torch
    import torch.nn.functional as F
    from torch import nn

    from helpers.metrics import evaluate_logits
    from helpers.streaming import StreamingScores

    torch.set_num_threads(1)
    torch.manual_seed(0)
    head, hidden = (
        nn.Linear(WIDTH, labels),
        torch.randn(ROWS, WIDTH, requires_grad=True),
    )
    rows = torch.arange(ROWS).repeat_interleave(5)
    true = torch.randint(labels, (len(rows),))

    def dense_step():
        targets = torch.zeros(ROWS, labels)
        targets[rows, true] = 1
        F.binary_cross_entropy_with_logits(head(hidden), targets).backward()

    @torch.no_grad()
    def step_in_chunks(size=1000):
        weight, bias, back = head.weight, head.bias, torch.zeros_like(hidden)
        weight.grad, bias.grad = torch.empty_like(weight), torch.empty_like(bias)
        for start in range(0, len(bias), size):
            part, here = slice(start, start + size), true // size == start // size
            slope = F.linear(hidden, weight[part], bias[part]).sigmoid_()
            slope[rows[here], true[here] - start] -= 1
            slope /= ROWS * labels
            weight.grad[part], bias.grad[part] = slope.T @ hidden, slope.sum(0)
            back += slope @ weight[part]

    def made(count):
        logits = 2 * torch.randn(count, labels) - 5
        return logits, torch.rand(count, labels) < logits.sigmoid()

    def exact_evaluation():
        evaluate_logits(*made(EVALUATED), resamples=0)

    def streaming_evaluation(count=EVALUATED, bins=256):
        scores = StreamingScores(labels, bins=bins)
        block = made(BLOCK)  # the same again and again: only the scores count
        for start in range(0, count, BLOCK):
            scores.update(*(part[: count - start] for part in block))
        scores.compute()

    work = {
        "dense step": dense_step,
        "step in chunks": step_in_chunks,
        "exact evaluation": exact_evaluation,
        "streaming evaluation": streaming_evaluation,
        MILLION: lambda: streaming_evaluation(1_000_000, bins=2048),
    }[what]
    before, start = peak(), time.process_time()
    work()
    if "step" in what:  # the first one also warms up
        start = time.process_time()
        work()
    return time.process_time() - start, (peak() - before) / 1e6


def table():
    """The rows (what, labels, seconds, megabytes), each from a process of its own."""
    kinds = "dense step", "step in chunks", "exact evaluation", "streaming evaluation"
    work = [(what, n) for what in kinds for n in LABELS if n <= MOST.get(what, n)]
    for what, labels in [*work, (MILLION, 1_000)]:
        command = [sys.executable, __file__, what, str(labels)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield what, labels, *map(float, done.stdout.split())


def main():
    if len(sys.argv) == 3:
        print(*measure(sys.argv[1], int(sys.argv[2])))
        return
    lines = ["what,labels,seconds,megabytes"]
    for what, labels, seconds, megabytes in table():
        lines.append(f'"{what}",{labels},{seconds:.4f},{megabytes:.1f}')
        print(lines[-1], flush=True)
    TABLE.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
