"""Seeds: many seeds of one model trained at once, in float64, for intervals.

The weights of all seeds stand in one tensor with a leading seed axis, so a layer is one
batched matrix product and one optimiser steps every seed. SGD and Adam act on each
number by itself: the seeds train as independently as in a loop over seeds, and to the
same weights (to rounding). A plain loop for one seed stands in the chapter "Which
loss, and how many?".
"""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

# They act on each number by itself, whatever its axes mean. A Softmax(dim=1) does not.
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)


def book_seeds(count: int) -> list[int]:
    """The seeds of an experiment: `count` consecutive integers.

    They start at the environment variable BOOK_SEED (0 if unset).
    """
    if count < 0:
        raise ValueError(f"count must be at least 0, got {count}")
    first = int(os.environ.get("BOOK_SEED") or 0)
    return list(range(first, first + count))


def experiment(
    methods: Mapping[str, object],
    measure: Callable[..., Mapping[str, Sequence]],
    *,
    seeds: Sequence[int],
    **knobs: Sequence,
) -> pd.DataFrame:
    """Measure every method over the seeds: a tidy frame, one row per method and seed.

    methods: from a name to what differs, such as a loss.
    measure: called as measure(what differs, seeds, knob=value, ...); returns for each
        score its values, one per seed.
    knobs: settings to try, such as rate=[0.1, 1.0]: every combination is measured, and
        each knob is a column.

    The columns are method, the knobs, seed and the scores. `stats.over_seeds` and
    `stats.paired` take it from there. Raises ValueError where there is no method, seed
    or value of a knob, and where a score does not have one value per seed.
    """
    for name, values in {"methods": methods, "seeds": seeds, **knobs}.items():
        if len(values) == 0:
            raise ValueError(f"{name} must hold at least one, got {values!r}")
    frames = []
    for name, method in methods.items():
        for setting in itertools.product(*knobs.values()):
            setting = dict(zip(knobs, setting))
            scores = measure(method, seeds, **setting)
            for score, values in scores.items():
                if len(values) != len(seeds):
                    raise ValueError(
                        f"measure must return one value per seed ({len(seeds)}), got "
                        f"{len(values)} for {score!r} of {name!r}"
                    )
            columns = {score: list(map(float, scores[score])) for score in scores}
            row = {"method": name, **setting, "seed": list(seeds), **columns}
            frames.append(pd.DataFrame(row))
    return pd.concat(frames, ignore_index=True)


def seeded(make_model: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The model that `make_model()` returns, its weights drawn in float64 from `seed`.

    Drawn in float32 and converted, weights differ in the eighth digit between
    processors, and after some hundred steps of training so may the third digit of a
    result. Torch's default dtype and global random state stay as they were. Raises
    ValueError for a seed that is no int.
    """
    if type(seed) is not int:
        raise ValueError(f"seed must be an int, got {seed!r}")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: it would seed the GPUs too, which are not forked.
            torch.default_generator.manual_seed(seed)
            return make_model()
    finally:
        torch.set_default_dtype(before)


class StackedLinear(nn.Module):
    """S linear layers side by side: inputs (S, N, in) to outputs (S, N, out).

    weight (S, in, out) is the transpose of `nn.Linear`'s, bias is (S, 1, out). Raises
    ValueError for inputs of another shape.
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
                f"inputs must have shape ({seeds} seeds, samples, {features} "
                f"features), got {tuple(inputs.shape)}"
            )
        return torch.baddbmm(self.bias, inputs, self.weight)


def stack(make_model: Callable[[], nn.Sequential], seeds: Sequence[int]):
    """One model per seed as one module: (S, N, features) to (S, N, K), in float64.

    make_model: a function without arguments that returns an `nn.Sequential` of
        `nn.Linear` layers with bias and ACTIVATIONS. Seed s sets the initial weights of
        model s, see `seeded`; a seed that stands twice gives two equal models.

    Raises ValueError for every model that would not be the same in a stack as alone:
    another layer or a subclass (batch norm would mix the seeds, dropout share its
    noise), no Linear layer, weights used twice (tied layers) or frozen or not float64,
    parameters or buffers beside weight and bias, hooks (weight norm is one),
    parametrisations, and layers or settings that differ between seeds.
    """
    if len(seeds) == 0:
        raise ValueError(f"seeds must hold at least one integer, got {seeds}")
    models = [seeded(make_model, seed) for seed in seeds]
    for seed, model in zip(seeds, models):
        _check_model(model)
        if str(model) != str(models[0]):  # types, sizes and settings of all layers
            raise ValueError(
                "make_model must return the same layers for every seed, got "
                f"{models[0]} for seed {seeds[0]} and {model} for seed {seed}"
            )
    memory = [
        weight.untyped_storage().data_ptr()
        for model in models
        for layer in model
        for weight in layer.parameters()
    ]
    if len(set(memory)) < len(memory):
        raise ValueError(
            "make_model must make new weights for every layer and seed, got weights "
            f"that are used twice (tied layers) in {models[0]}"
        )
    return nn.Sequential(
        *(
            StackedLinear(column) if isinstance(column[0], nn.Linear) else column[0]
            for column in zip(*models)
        )
    )


def _check_model(model):
    if type(model) is not nn.Sequential or _has_hooks(model):
        raise ValueError(
            "make_model must return an nn.Sequential, not a subclass, without hooks, "
            f"got {model}"
        )
    if not any(isinstance(layer, nn.Linear) for layer in model):
        raise ValueError(f"make_model must hold a Linear layer, got {model}")
    for layer in model:
        if fault := _fault(layer):
            names = ", ".join(kind.__name__ for kind in ACTIVATIONS)
            raise ValueError(
                f"make_model must hold Linear layers with bias and activations ({names}"
                f") only, got {layer} {fault}"
            )


def _fault(layer):
    """What would make a layer behave differently in a stack, or None."""
    if type(layer) not in (nn.Linear, *ACTIVATIONS):
        return "of another type"
    parameters, shapes = list(layer.parameters()), []
    if isinstance(layer, nn.Linear):
        shapes = [(layer.out_features, layer.in_features), (layer.out_features,)]
    if _has_hooks(layer) or any(
        weight._backward_hooks or weight._post_accumulate_grad_hooks
        for weight in parameters
    ):
        return "with hooks"
    if [weight.shape for weight in parameters] != shapes or list(layer.buffers()):
        return f"whose parameters and buffers do not have the shapes {shapes}"
    if not all(weight.requires_grad for weight in parameters):
        return "with frozen parameters"
    if any(weight.dtype != torch.float64 for weight in parameters):
        return "with parameters that are not float64"


def _has_hooks(module):
    """Whether calling the module does more, or other things, than its type says."""
    return any(
        value and (name.endswith("_hooks") or name == "forward")
        for name, value in vars(module).items()
    )


def train(
    make_model: Callable[[], nn.Sequential],
    loss: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    *,
    seeds: Sequence[int],
    steps: int,
    batch_size: int,
    optimizer: Callable[..., torch.optim.Optimizer],
) -> nn.Sequential:
    """Train one model per seed, all at once; one module for inputs (S, N, features).

    make_model: see `stack`.
    loss: a function (outputs (N, K), targets (N, ...)) -> scalar, as for one model. A
        mask or weights travel with the targets, as (S, N, K, 2), or as -1 where a label
        is unknown.
    inputs: (S, N, features) float64; targets: (S, N, ...): one data set per seed.
    seeds: S integers. Seed s sets the initial weights and the batches of model s,
        whatever the other seeds are.
    steps, batch_size: how many updates, and how many samples each sees (drawn with
        replacement).
    optimizer: a function of the parameters that acts on each number by itself, such as
        `partial(torch.optim.SGD, lr=0.1)`. One that clips by a norm, for instance,
        would mix the seeds, and not every such optimiser is noticed.

    Raises ValueError for models that `stack` refuses; where `inputs`, `targets` and
    `seeds` do not agree or are empty, or are not finite; for `inputs` that are not
    float64, a loss that is no scalar, an optimiser known to mix the seeds; and names
    the seeds whose weights are not finite after training.
    """
    for name, values in (("inputs", inputs), ("targets", targets)):
        if not isinstance(values, Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(values).__name__}")
        # One pass without a copy, five times as fast as isfinite().all().
        if not values.sum(dtype=torch.float64).isfinite():
            raise ValueError(f"{name} must be finite, got NaN or infinity among them")
    if inputs.ndim != 3 or len(inputs) != len(seeds) or inputs.numel() == 0:
        raise ValueError(
            f"inputs must have shape (seeds, samples, features) with {len(seeds)} "
            f"seeds, got {tuple(inputs.shape)}"
        )
    if targets.shape[:2] != inputs.shape[:2]:
        raise ValueError(
            f"targets must begin with shape {tuple(inputs.shape[:2])}, as inputs do, "
            f"got {tuple(targets.shape)}"
        )
    if inputs.dtype != torch.float64:
        raise ValueError(
            "inputs must be float64, so that the digits are the same everywhere, got "
            f"{inputs.dtype}"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}")
    model = stack(make_model, seeds)
    step = optimizer(model.parameters())
    if isinstance(step, (torch.optim.LBFGS, torch.optim.Adafactor)):
        raise ValueError(
            "optimizer must act on each number by itself, such as SGD or Adam, got "
            f"{type(step).__name__}"
        )
    # index_select copies whole rows: faster than inputs[seed, batch].
    rows, labels = inputs.flatten(0, 1), targets.flatten(0, 1)
    for batch in _batches(seeds, inputs.shape[1], steps, batch_size):
        index, shape = batch.flatten(), batch.shape
        outputs = model(rows.index_select(0, index).unflatten(0, shape))
        batch_targets = labels.index_select(0, index).unflatten(0, shape)
        losses = list(map(loss, outputs, batch_targets))
        for value in losses:
            if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
                raise ValueError(
                    "loss must return a scalar tensor that depends on the outputs, got "
                    f"{value!r:.60}"
                )
        step.zero_grad()
        # A weight acts on the loss of its own seed only, so the sum gives its gradient.
        sum(losses).backward()
        step.step()
    finite = [weight.flatten(1).isfinite().all(1) for weight in model.parameters()]
    if bad := [seed for seed, *good in zip(seeds, *finite) if not all(good)]:
        raise ValueError(
            f"the weights of seeds {bad} are NaN or infinite after training: lower the "
            "learning rate, or look for a batch whose loss is not finite"
        )
    return model.requires_grad_(False)


def _batches(seeds, samples, steps, batch_size):
    """Row numbers (steps, S, B) in the data of all seeds, one data set after another.

    Those of a seed do not depend on the other seeds.
    """
    draws = [
        torch.randint(
            samples, (steps, batch_size), generator=torch.Generator().manual_seed(seed)
        )
        for seed in seeds
    ]
    return torch.stack([s * samples + draw for s, draw in enumerate(draws)], dim=1)
