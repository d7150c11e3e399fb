"""Seeds: training many seeds of one model at once, in float64, so that every comparison carries an interval.

The weights of all seeds stand in one tensor with a leading seed axis, so a layer is one batched matrix product
and one optimiser steps every seed. SGD and Adam act on each number by itself: the seeds train as independently
as in a loop over seeds, and to the same weights. Explained in the chapter "One label, several labels, one of several".
"""

import os

import torch
from torch import nn


def book_seeds(count):
    """The seeds of an experiment: `count` consecutive integers that start at the environment variable BOOK_SEED (0 if unset)."""
    first = int(os.environ.get("BOOK_SEED", 0))
    return list(range(first, first + count))


class StackedLinear(nn.Module):
    """S linear layers side by side: inputs (S, N, in) to outputs (S, N, out)."""

    def __init__(self, layers):
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach().T for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers])[:, None])

    def forward(self, inputs):
        return torch.baddbmm(self.bias, inputs, self.weight)


def stack(make_model, seeds):
    """One model per seed as a single module: inputs (S, N, features) to outputs (S, N, K), in float64.

    make_model: a function without arguments that returns an `nn.Sequential` of `nn.Linear` layers (with bias) and
        activations without parameters. Seed s sets the initial weights of model s.
    Raises ValueError for any other layer with parameters or buffers (batch norm), and for dropout: seeds would share its noise.
    """
    models = []
    for seed in seeds:
        torch.manual_seed(seed)
        models.append(make_model().double())
    layers = []
    for column in zip(*models):
        first = column[0]
        if isinstance(first, nn.Linear) and first.bias is not None:
            layers.append(StackedLinear(column))
        elif first.state_dict() or isinstance(first, nn.modules.dropout._DropoutNd):
            raise ValueError(f"make_model may hold Linear layers with bias and activations, got {first}")
        else:
            layers.append(first)
    return nn.Sequential(*layers)


def train(make_model, loss, inputs, targets, *, seeds, steps, batch_size, optimizer):
    """Train one model per seed, all at once; returns them as one module, for inputs (S, N, features).

    make_model: see `stack`.
    loss: a function (outputs (N, K), targets (N, ...)) -> scalar, written as for one model. It must be a mean over samples.
    inputs: (S, N, features) float64; targets: (S, N, ...): one data set per seed.
    seeds: S integers. Seed s sets the initial weights and the batches of model s.
    steps, batch_size: how many updates, and how many samples each sees (drawn with replacement).
    optimizer: a function of the parameters that acts on each number by itself, such as `partial(torch.optim.SGD, lr=0.1)`.

    Raises ValueError where `inputs`, `targets` and `seeds` do not agree or are empty, or `inputs` is not float64.
    """
    if inputs.ndim != 3 or len(inputs) != len(seeds) or inputs.numel() == 0:
        raise ValueError(f"inputs must have shape (seeds, samples, features) with {len(seeds)} seeds, got {tuple(inputs.shape)}")
    if targets.shape[:2] != inputs.shape[:2]:
        raise ValueError(f"targets must begin with shape {tuple(inputs.shape[:2])}, as inputs do, got {tuple(targets.shape)}")
    if inputs.dtype != torch.float64:
        raise ValueError(f"inputs must be float64, so that the digits are the same everywhere, got {inputs.dtype}")
    model = stack(make_model, seeds)
    step = optimizer(model.parameters())
    rows = torch.arange(len(seeds))[:, None]
    for batch in _batches(seeds, inputs.shape[1], steps, batch_size):
        outputs = model(inputs[rows, batch])
        # A mean over the samples of all seeds is 1/S of the sum of their losses; S times it gives each seed its own gradient.
        total = len(seeds) * loss(outputs.flatten(0, 1), targets[rows, batch].flatten(0, 1))
        step.zero_grad()
        total.backward()
        step.step()
    return model.requires_grad_(False)


def _batches(seeds, samples, steps, batch_size):
    """Sample indices (steps, S, B); those of a seed do not depend on the other seeds."""
    draws = [torch.randint(samples, (steps, batch_size), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(draws, dim=1)
