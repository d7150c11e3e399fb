"""Seeds: training many seeds of one model at once, in float64, so that every comparison carries an interval.

The weights of all seeds stand in one tensor with a leading seed axis, so a layer is one batched matrix product
and one optimiser steps every seed. SGD and Adam act on each number by itself: the seeds train as independently
as in a loop over seeds, and to the same weights (to rounding). Explained in the chapter "One label, several labels, one of several".
"""

import os

import torch
from torch import nn

# They act on each number by itself, whatever its axes mean. A Softmax(dim=1) or a Flatten does not.
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)


def book_seeds(count):
    """The seeds of an experiment: `count` consecutive integers that start at the environment variable BOOK_SEED (0 if unset)."""
    first = int(os.environ.get("BOOK_SEED") or 0)
    return list(range(first, first + count))


def seeded(make_model, seed):
    """The model that `make_model()` returns, its weights drawn in float64 after `torch.manual_seed(seed)`.

    Drawn in float32 and converted, weights differ in the eighth digit between processors, and after some hundred steps of
    training so may the third digit of a result.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(seed)
        return make_model()
    finally:
        torch.set_default_dtype(before)


class StackedLinear(nn.Module):
    """S linear layers side by side: inputs (S, N, in) to outputs (S, N, out).

    weight (S, in, out) is the transpose of `nn.Linear`'s, bias is (S, 1, out). Raises ValueError for inputs of another shape.
    """

    def __init__(self, layers):
        super().__init__()
        self.weight = nn.Parameter(
            torch.stack([layer.weight.detach().T for layer in layers])
        )
        self.bias = nn.Parameter(
            torch.stack([layer.bias.detach() for layer in layers])[:, None]
        )

    def forward(self, inputs):
        seeds, features, _ = self.weight.shape
        if inputs.ndim != 3 or inputs.shape[0] != seeds or inputs.shape[2] != features:
            raise ValueError(
                f"inputs must have shape ({seeds} seeds, samples, {features} features), got {tuple(inputs.shape)}"
            )
        return torch.baddbmm(self.bias, inputs, self.weight)


def stack(make_model, seeds):
    """One model per seed as a single module: inputs (S, N, features) to outputs (S, N, K), in float64.

    make_model: a function without arguments that returns an `nn.Sequential` of `nn.Linear` layers with bias and ACTIVATIONS.
        Seed s sets the initial weights of model s, see `seeded`.
    Raises ValueError for another model or layer: batch norm, for instance, would mix the seeds, and dropout share its noise.
    """
    models = [seeded(make_model, seed) for seed in seeds]
    if not isinstance(models[0], nn.Sequential):
        raise ValueError(f"make_model must return an nn.Sequential, got {models[0]}")
    layers = []
    for column in zip(*models, strict=True):
        first = column[0]
        if isinstance(first, nn.Linear) and first.bias is not None:
            layers.append(StackedLinear(column))
        elif isinstance(first, ACTIVATIONS):
            layers.append(first)
        else:
            names = ", ".join(kind.__name__ for kind in ACTIVATIONS)
            raise ValueError(
                f"make_model must hold Linear layers with bias and activations ({names}) only, got {first}"
            )
    return nn.Sequential(*layers)


def train(make_model, loss, inputs, targets, *, seeds, steps, batch_size, optimizer):
    """Train one model per seed, all at once; returns them as one module, for inputs (S, N, features).

    make_model: see `stack`.
    loss: a function (outputs (N, K), targets (N, ...)) -> scalar, written as for one model. It must be a mean over samples.
    inputs: (S, N, features) float64; targets: (S, N, ...): one data set per seed.
    seeds: S integers. Seed s sets the initial weights and the batches of model s, whatever the other seeds are.
    steps, batch_size: how many updates, and how many samples each sees (drawn with replacement).
    optimizer: a function of the parameters that acts on each number by itself, such as `partial(torch.optim.SGD, lr=0.1)`.
        Clipping by a norm, or a line search, would mix the seeds.

    Raises ValueError where `inputs`, `targets` and `seeds` do not agree or are empty, `inputs` is not float64 or not finite,
    `batch_size` is below 1, or `loss` is not a mean over samples (a sum, or class weights: they would change the step).
    """
    if inputs.ndim != 3 or len(inputs) != len(seeds) or inputs.numel() == 0:
        raise ValueError(
            f"inputs must have shape (seeds, samples, features) with {len(seeds)} seeds, got {tuple(inputs.shape)}"
        )
    if targets.shape[:2] != inputs.shape[:2]:
        raise ValueError(
            f"targets must begin with shape {tuple(inputs.shape[:2])}, as inputs do, got {tuple(targets.shape)}"
        )
    if inputs.dtype != torch.float64:
        raise ValueError(
            f"inputs must be float64, so that the digits are the same everywhere, got {inputs.dtype}"
        )
    if not inputs.isfinite().all():
        raise ValueError("inputs must be finite, got NaN or infinity among them")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    model = stack(make_model, seeds)
    _check_mean(loss, model(inputs[:, :batch_size]).detach(), targets[:, :batch_size])
    step = optimizer(model.parameters())
    rows = torch.arange(len(seeds))[:, None]
    for batch in _batches(seeds, inputs.shape[1], steps, batch_size):
        outputs = model(inputs[rows, batch])
        # A mean over the samples of all seeds is 1/S of the sum of their losses; S times it gives each seed its own gradient.
        total = len(seeds) * loss(
            outputs.flatten(0, 1), targets[rows, batch].flatten(0, 1)
        )
        step.zero_grad()
        total.backward()
        step.step()
    return model.requires_grad_(False)


def _check_mean(loss, outputs, targets):
    together = loss(outputs.flatten(0, 1), targets.flatten(0, 1))
    apart = torch.stack([loss(*one_seed) for one_seed in zip(outputs, targets)])
    if not torch.allclose(together, apart.mean(), equal_nan=True):
        raise ValueError(
            "loss must be a mean over samples: for all seeds together it is not the mean of what it is for each"
        )


def _batches(seeds, samples, steps, batch_size):
    """Sample indices (steps, S, B); those of a seed do not depend on the other seeds."""
    draws = [
        torch.randint(
            samples, (steps, batch_size), generator=torch.Generator().manual_seed(seed)
        )
        for seed in seeds
    ]
    return torch.stack(draws, dim=1)
