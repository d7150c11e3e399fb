import re
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from helpers.seeds import (
    ACTIVATIONS,
    StackedLinear,
    book_seeds,
    experiment,
    seeded,
    stack,
    train,
)

SGD = partial(torch.optim.SGD, lr=0.1)
OPTIMIZERS = {
    "SGD": SGD,
    "momentum": partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01),
    "Adam": partial(torch.optim.Adam, lr=0.01),
    "AdamW": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
}
ADAM = OPTIMIZERS["Adam"]
bce = F.binary_cross_entropy_with_logits


def network():
    return nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4)
    )


def bce_sum(logits, targets):
    return bce(logits, targets, reduction="sum") / len(logits)


def masked_bce(logits, targets):
    """The mask comes along as a second channel of the targets."""
    targets, known = targets.unbind(-1)
    return (bce(logits, targets, reduction="none") * known).sum() / known.sum()


def known_bce(logits, targets):
    """Unknown labels are -1."""
    known = targets >= 0
    return bce(logits[known], targets[known])


WEIGHTS = torch.tensor([1.0, 2, 3, 9], dtype=torch.float64)
# By name: the loss, and what it makes of class indices (S, N) and multi-hot (S, N, K).
LOSSES = {
    "cross-entropy": (F.cross_entropy, lambda classes, labels: classes),
    "BCE": (bce, lambda classes, labels: labels),
    "BCE summed over labels": (bce_sum, lambda classes, labels: labels),
    "squared error": (F.mse_loss, lambda classes, labels: labels),
    "ignore_index": (
        partial(F.cross_entropy, ignore_index=1),
        lambda classes, labels: classes,
    ),
    "class weights": (
        partial(F.cross_entropy, weight=WEIGHTS),
        lambda classes, labels: classes,
    ),
    "masked": (
        masked_bce,
        lambda classes, labels: torch.stack([labels, labels.roll(1, 1)], -1),
    ),
    "unknown": (
        known_bce,
        lambda classes, labels: labels.where(labels.roll(1, 1) > 0, -1),
    ),
    "pos_weight": (partial(bce, pos_weight=WEIGHTS), lambda classes, labels: labels),
    "sum": (
        lambda logits, targets: F.cross_entropy(logits, targets, reduction="sum") / 9,
        lambda classes, labels: classes,
    ),
}


def data(seeds, samples=50):
    """One data set per seed: inputs, class indices and multi-hot targets."""
    parts = []
    for seed in seeds:
        random = torch.Generator().manual_seed(10_000 + seed)
        inputs = torch.randn(samples, 5, dtype=torch.float64, generator=random)
        parts.append(
            (
                inputs,
                torch.randint(4, (samples,), generator=random),
                torch.randint(2, (samples, 4), generator=random).double(),
            )
        )
    return [torch.stack(part) for part in zip(*parts)]


def plain_loop(make_model, loss, inputs, targets, seed, steps, batch_size, optimizer):
    """What a reader would write for one seed."""
    model = seeded(make_model, seed)
    step = optimizer(model.parameters())
    for batch in torch.randint(
        len(inputs), (steps, batch_size), generator=torch.Generator().manual_seed(seed)
    ):
        step.zero_grad()
        loss(model(inputs[batch]), targets[batch]).backward()
        step.step()
    return model


def assert_same(together, number, alone):
    for ours, theirs in zip(together, alone, strict=True):
        if isinstance(theirs, nn.Linear):
            assert torch.allclose(
                ours.weight[number].T, theirs.weight, rtol=0, atol=1e-10
            )
            assert torch.allclose(ours.bias[number, 0], theirs.bias, rtol=0, atol=1e-10)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_together_is_the_plain_loop_over_seeds(optimizer, loss):
    seeds, optimizer = [3, 0, 1000, 7], OPTIMIZERS[optimizer]
    inputs, classes, labels = data(seeds)
    loss, targets_of = LOSSES[loss]
    targets = targets_of(classes, labels)
    together = train(
        network,
        loss,
        inputs,
        targets,
        seeds=seeds,
        steps=40,
        batch_size=16,
        optimizer=optimizer,
    )
    for number, seed in enumerate(seeds):
        alone = plain_loop(
            network, loss, inputs[number], targets[number], seed, 40, 16, optimizer
        )
        assert_same(together, number, alone)
        assert torch.allclose(
            together(inputs)[number], alone(inputs[number]), rtol=0, atol=1e-9
        )


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.integers(0, 2**31), min_size=1, max_size=5, unique=True),
    st.integers(1, 12),
    st.integers(1, 70),
    st.integers(1, 80),
)
def test_a_seed_does_not_depend_on_the_others(seeds, steps, batch_size, samples):
    inputs, classes, _ = data([0] * len(seeds), samples)
    options = {"steps": steps, "batch_size": batch_size, "optimizer": ADAM}
    together = train(network, F.cross_entropy, inputs, classes, seeds=seeds, **options)
    backwards = train(
        network, F.cross_entropy, inputs, classes, seeds=seeds[::-1], **options
    )
    alone = train(
        network, F.cross_entropy, inputs[:1], classes[:1], seeds=seeds[-1:], **options
    )
    for here, there, only in zip(
        together.parameters(), backwards.parameters(), alone.parameters()
    ):
        assert torch.allclose(here, there.flip(0), rtol=0, atol=1e-10)
        assert torch.allclose(here[-1:], only, rtol=0, atol=1e-10)


def test_seeds_differ():
    inputs, classes, _ = data([0, 0])
    model = train(
        network,
        F.cross_entropy,
        inputs,
        classes,
        seeds=[0, 1],
        steps=5,
        batch_size=8,
        optimizer=SGD,
    )
    assert not torch.allclose(model[0].weight[0], model[0].weight[1], atol=0.01)


def test_twice_is_the_same_to_the_last_bit():
    inputs, classes, _ = data([0, 1])
    first, second = (
        train(
            network,
            F.cross_entropy,
            inputs,
            classes,
            seeds=[0, 1],
            steps=20,
            batch_size=8,
            optimizer=ADAM,
        )
        for _ in range(2)
    )
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters())
    )


def test_zero_steps_give_the_initial_models():
    inputs, classes, _ = data([4, 5])
    model = train(
        network,
        F.cross_entropy,
        inputs,
        classes,
        seeds=[4, 5],
        steps=0,
        batch_size=8,
        optimizer=SGD,
    )
    for number, seed in enumerate([4, 5]):
        assert_same(model, number, seeded(network, seed))


def test_weights_are_drawn_in_float64():
    """float32 draws differ in the eighth digit between processors."""
    weight = seeded(network, 0)[0].weight
    assert weight.dtype == torch.float64 and (weight.float().double() != weight).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_default_dtype_and_random_state_stay(dtype):
    def broken():
        torch.rand(3)
        raise RuntimeError("broken")

    inputs, classes, _ = data([0, 1, 2])
    torch.manual_seed(5)
    torch.rand(7)
    state = torch.get_rng_state()
    try:
        torch.set_default_dtype(dtype)
        seeded(network, 0)
        with pytest.raises(RuntimeError, match="^broken$"):
            seeded(broken, 0)
        train(network, F.cross_entropy, inputs, classes, **OPTIONS)
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)


def test_seeded_is_manual_seed():
    weight = seeded(network, 12)[0].weight
    torch.manual_seed(12)
    expected = nn.Linear(5, 8, dtype=torch.float64).weight
    assert torch.equal(weight, expected)


@pytest.mark.parametrize("seed", [1.0, np.int64(1), "1", None, True])
def test_a_seed_that_is_no_int(seed):
    with pytest.raises(ValueError, match=f"^seed must be an int, got {seed!r}"[:32]):
        seeded(network, seed)


def test_a_seed_twice_gives_two_equal_models():
    inputs, classes, _ = data([0, 0])
    options = OPTIONS | {"seeds": [7, 7], "steps": 5}
    model = train(network, F.cross_entropy, inputs, classes, **options)
    for weight in model.parameters():
        assert torch.equal(weight[0], weight[1])


def test_what_comes_back():
    inputs, classes, _ = data([0, 1, 2])
    model = train(
        network,
        F.cross_entropy,
        inputs,
        classes,
        seeds=[0, 1, 2],
        steps=1,
        batch_size=8,
        optimizer=SGD,
    )
    outputs = model(inputs)
    assert (
        outputs.shape == (3, 50, 4)
        and outputs.dtype == torch.float64
        and not outputs.requires_grad
    )


@pytest.mark.parametrize(
    "make",
    [
        *ACTIVATIONS,
        partial(nn.LeakyReLU, 0.3),
        partial(nn.GELU, approximate="tanh"),
        partial(nn.ReLU, inplace=True),
        partial(nn.LeakyReLU, 0.2, inplace=True),
    ],
    ids=lambda make: str(make()),
)
def test_every_activation_is_as_for_one_model(make):
    def make_model():
        shared = make()  # one without weights may stand twice
        return nn.Sequential(
            shared, nn.Linear(5, 8), shared, nn.Linear(8, 4), nn.Sigmoid()
        )

    inputs, _, labels = data([0, 1, 2])
    options = OPTIONS | {"steps": 5}
    before = inputs.clone()
    together = train(make_model, F.mse_loss, inputs, labels, **options)
    assert torch.equal(inputs, before)
    for number in range(3):
        alone = plain_loop(
            make_model, F.mse_loss, inputs[number], labels[number], number, 5, 8, SGD
        )
        assert_same(together, number, alone)


OPTIONS = {"seeds": [0, 1, 2], "steps": 1, "batch_size": 8, "optimizer": SGD}


@pytest.mark.parametrize(
    "spoil, message",
    [
        (
            lambda x, y: (x[0], y),
            r"^inputs must have shape \(seeds, samples, features\) with 3 seeds, "
            r"got \(50, 5\)",
        ),
        (
            lambda x, y: (x[:2], y[:2]),
            r"^inputs must have shape \(seeds, samples, features\) with 3 seeds, "
            r"got \(2, 50, 5\)",
        ),
        (
            lambda x, y: (x.unflatten(1, (10, 5)), y),
            r"^inputs must have shape .*, got \(3, 10, 5, 5\)",
        ),
        (
            lambda x, y: (x[:, :0], y[:, :0]),
            r"^inputs must have shape .*, got \(3, 0, 5\)",
        ),
        (
            lambda x, y: (x, y[0]),
            r"^targets must begin with shape \(3, 50\), as inputs do, got \(50,\)",
        ),
        (
            lambda x, y: (x, y[:, :9]),
            r"^targets must begin with shape \(3, 50\), as inputs do, got \(3, 9\)",
        ),
        (
            lambda x, y: (x.float(), y),
            r"^inputs must be float64, .*, got torch.float32",
        ),
        (lambda x, y: (x / 0, y), r"^inputs must be finite, got NaN or infinity"),
        (lambda x, y: (x, y / 0), r"^targets must be finite, got NaN or infinity"),
        (
            lambda x, y: (x, torch.full((3, 50), torch.nan)),
            r"^targets must be finite",
        ),
        (lambda x, y: (x.numpy(), y), r"^inputs must be a tensor, got ndarray"),
        (lambda x, y: (x, y.tolist()), r"^targets must be a tensor, got list"),
        (
            lambda x, y: (x[:, :, :4], y),
            r"^inputs must have shape \(3 seeds, samples, 5 .*, got \(3, 8, 4\)",
        ),
    ],
)
def test_bad_data(spoil, message):
    inputs, classes, _ = data([0, 1, 2])
    inputs, targets = spoil(inputs, classes)
    with pytest.raises(ValueError, match=message):
        train(network, F.cross_entropy, inputs, targets, **OPTIONS)


@pytest.mark.parametrize(
    "option, message",
    [
        ({"seeds": []}, "^inputs must have shape .* with 0 seeds, got"),
        ({"batch_size": 0}, "^batch_size must be at least 1, got 0$"),
        ({"steps": -1}, "^steps must be at least 0, got -1$"),
        (
            {"optimizer": torch.optim.LBFGS},
            "^optimizer must act on each number by itself, .*, got LBFGS$",
        ),
        (
            {"optimizer": torch.optim.Adafactor},
            "^optimizer must act on each number by itself, .*, got Adafactor$",
        ),
    ],
    ids=str,
)
def test_bad_options(option, message):
    seeds = len(option.get("seeds", [0, 1, 2]))
    inputs, classes, _ = (part[:seeds] for part in data([0, 1, 2]))
    with pytest.raises(ValueError, match=message):
        train(network, F.cross_entropy, inputs, classes, **OPTIONS | option)


def test_large_finite_targets_are_finite():
    inputs, _, labels = data([0, 1, 2])
    for targets in (labels.half() * 6e4, labels.float() * 3e38, labels.bool()):
        train(network, zero, inputs, targets, **OPTIONS)


def zero(outputs, targets):
    return 0 * outputs.sum()


def test_a_trained_model_refuses_other_shapes():
    inputs, classes, _ = data([0, 1, 2])
    model = train(network, F.cross_entropy, inputs, classes, **OPTIONS)
    four = inputs.unflatten(1, (10, 5))
    for wrong in (inputs[0], inputs[:1], inputs[:, :, :4], inputs[:, 0], four):
        with pytest.raises(
            ValueError,
            match=r"^inputs must have shape \(3 seeds, samples, 5 features\), got",
        ):
            model(wrong)


@pytest.mark.parametrize(
    "loss, got",
    [
        (partial(F.cross_entropy, reduction="none"), r"tensor\(\["),
        (lambda z, y: F.cross_entropy(z, y)[None], r"tensor\(\["),
        (lambda z, y: F.cross_entropy(z.detach(), y), r"tensor\("),
        (lambda z, y: F.cross_entropy(z, y).item(), r"\d"),
        (lambda z, y: None, "None$"),
    ],
    ids=["no reduction", "one axis", "detached", "a float", "nothing"],
)
def test_a_loss_that_is_no_scalar(loss, got):
    inputs, classes, _ = data([0, 1, 2])
    with pytest.raises(
        ValueError,
        match="^loss must return a scalar tensor that depends on the outputs, got "
        + got,
    ) as error:
        train(network, loss, inputs, classes, **OPTIONS)
    assert len(str(error.value)) < 130  # a loss of each sample may be long


@pytest.mark.parametrize(
    "far, named", [([1], r"\[5\]"), ([0, 2], r"\[4, 6\]")], ids=["one", "two"]
)
def test_divergence_names_its_seeds(far, named):
    inputs, _, labels = data([0, 1, 2])
    labels[far] *= 1e200
    with pytest.raises(
        ValueError,
        match=f"^the weights of seeds {named} are NaN or infinite after training: "
        "lower the learning rate",
    ):
        options = OPTIONS | {"seeds": [4, 5, 6], "steps": 9}
        train(network, F.mse_loss, inputs, labels, **options)


def test_infinite_weights_in_one_layer():
    def make_model():
        model = nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 4))
        nn.init.zeros_(model[1].weight)  # so the first layer stays as it is
        return model

    inputs, classes, _ = data([0, 1, 2])
    options = OPTIONS | {"optimizer": partial(torch.optim.SGD, lr=1e300)}
    with pytest.raises(ValueError, match=r"^the weights of seeds \[0, 1, 2\] are NaN"):
        train(make_model, lambda z, y: 1e300 * z.sum(), inputs, classes, **options)


def test_a_batch_without_a_known_label_diverges():
    inputs, _, labels = data([0, 1])
    known = torch.ones_like(labels)
    known[1] = 0  # the mean of nothing is NaN
    options = OPTIONS | {"seeds": [0, 1]}
    with pytest.raises(ValueError, match=r"^the weights of seeds \[1\] are NaN"):
        train(network, masked_bce, inputs, torch.stack([labels, known], -1), **options)


class Scaled(nn.Linear):
    def forward(self, inputs):
        return 2 * super().forward(inputs)


class Residual(nn.Sequential):
    def forward(self, inputs):
        return inputs + super().forward(inputs)


class Shifted(nn.ReLU):
    def forward(self, inputs):
        return super().forward(inputs) + 1


def with_(layer, change):
    change(layer)
    return layer


def changed(change, make=lambda: nn.Linear(5, 5)):
    """A function that makes a layer and changes it."""
    return lambda: with_(make(), change)


def rename_forward(layer):
    layer.forward = lambda inputs: 2 * inputs


class Double(nn.Module):
    def forward(self, weight):
        return 2 * weight


BAD_LAYERS = {
    "batch norm": (lambda: nn.BatchNorm1d(5), "of another type"),
    "batch norm without state": (
        lambda: nn.BatchNorm1d(5, affine=False, track_running_stats=False),
        "of another type",
    ),
    "layer norm": (lambda: nn.LayerNorm(5), "of another type"),
    "dropout": (nn.Dropout, "of another type"),
    "alpha dropout": (nn.AlphaDropout, "of another type"),
    "convolution": (lambda: nn.Conv1d(5, 5, 1), "of another type"),
    "PReLU": (nn.PReLU, "of another type"),
    "flatten": (nn.Flatten, "of another type"),
    "softmax": (lambda: nn.Softmax(dim=1), "of another type"),
    "nested": (lambda: nn.Sequential(nn.ReLU()), "of another type"),
    "subclass of Linear": (lambda: Scaled(5, 5), "of another type"),
    "subclass of an activation": (Shifted, "of another type"),
    "parametrisation": (
        changed(lambda x: parametrize.register_parametrization(x, "weight", Double())),
        "of another type",
    ),
    "new weight norm": (changed(parametrizations.weight_norm), "of another type"),
    "spectral norm": (changed(parametrizations.spectral_norm), "of another type"),
    "old spectral norm": (changed(nn.utils.spectral_norm), "with hooks"),
    "forward hook": (
        changed(lambda x: x.register_forward_hook(lambda *a: 2 * a[-1])),
        "with hooks",
    ),
    "forward hook of an activation": (
        changed(lambda x: x.register_forward_hook(lambda *a: 2 * a[-1]), nn.ReLU),
        "with hooks",
    ),
    "forward pre-hook": (
        changed(lambda x: x.register_forward_pre_hook(lambda *a: None)),
        "with hooks",
    ),
    "backward hook": (
        changed(lambda x: x.register_full_backward_hook(lambda *a: None)),
        "with hooks",
    ),
    "backward pre-hook": (
        changed(lambda x: x.register_full_backward_pre_hook(lambda *a: None)),
        "with hooks",
    ),
    "hook of a weight": (
        changed(lambda x: x.weight.register_hook(lambda gradient: 2 * gradient)),
        "with hooks",
    ),
    "later hook of a bias": (
        changed(lambda x: x.bias.register_post_accumulate_grad_hook(lambda b: None)),
        "with hooks",
    ),
    "a forward of its own": (changed(rename_forward), "with hooks"),
    "frozen": (changed(lambda x: x.requires_grad_(False)), "with frozen parameters"),
    "frozen bias": (
        changed(lambda x: x.bias.requires_grad_(False)),
        "with frozen parameters",
    ),
    "float32": (changed(lambda x: x.float()), "with parameters that are not float64"),
    "no bias": (
        lambda: nn.Linear(5, 5, bias=False),
        "whose parameters and buffers do not have the shapes [(5, 5), (5,)]",
    ),
    "one bias for all": (
        changed(lambda x: setattr(x.bias, "data", torch.zeros(1))),
        "whose parameters and buffers do not have the shapes [(5, 5), (5,)]",
    ),
    "another weight": (
        changed(lambda x: setattr(x.weight, "data", torch.zeros(6, 5))),
        "whose parameters and buffers do not have the shapes [(5, 5), (5,)]",
    ),
    "buffer": (
        changed(lambda x: x.register_buffer("mask", torch.ones(5))),
        "whose parameters and buffers do not have the shapes [(5, 5), (5,)]",
    ),
    "activation with a parameter": (
        changed(
            lambda x: x.register_parameter("a", nn.Parameter(torch.ones(1))), nn.ReLU
        ),
        "whose parameters and buffers do not have the shapes []",
    ),
}


@pytest.mark.parametrize("layer", BAD_LAYERS)
def test_bad_layers(layer):
    make_layer, fault = BAD_LAYERS[layer]
    with pytest.raises(
        ValueError,
        match=r"^make_model must hold Linear layers with bias and activations \(ReLU, "
        r"LeakyReLU, GELU, SiLU, Tanh, Sigmoid\) only, got "
        + re.escape(f"{seeded(make_layer, 0)} {fault}")
        + "$",
    ):
        stack(lambda: nn.Sequential(nn.Linear(5, 5), make_layer()), [0])


def test_old_weight_norm():
    """A hook that makes the weight anew from two others."""
    with pytest.warns(FutureWarning), pytest.raises(ValueError, match="with hooks$"):
        stack(lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(5, 4))), [0])


def tied_module():
    layer = nn.Linear(5, 5)
    return nn.Sequential(layer, nn.ReLU(), layer)


def tied_weight():
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    model[1].weight = model[0].weight
    return model


def tied_memory():
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    model[1].bias.data = model[0].weight.data[0]
    return model


ONE_FOR_ALL = seeded(network, 0)
TWICE = "^make_model must make new weights for every layer and seed, got weights that "
BAD_MODELS = {
    "a Linear": (
        lambda: nn.Linear(5, 4),
        "^make_model must return an nn.Sequential, not a subclass, .*, got Linear",
    ),
    "nothing": (lambda: None, "^make_model must return an nn.Sequential, .*, got None"),
    "subclass": (
        lambda: Residual(nn.Linear(5, 5)),
        "^make_model must return an nn.Sequential, .*, got Residual",
    ),
    "hook": (
        lambda: with_(network(), lambda m: m.register_forward_hook(lambda *a: None)),
        "^make_model must return an nn.Sequential, .*, without hooks, got Sequential",
    ),
    "empty": (nn.Sequential, "^make_model must hold a Linear layer, got Sequential"),
    "no weights": (
        lambda: nn.Sequential(nn.ReLU()),
        "^make_model must hold a Linear layer, got Sequential",
    ),
    "the same layer twice": (tied_module, TWICE),
    "the same weight twice": (tied_weight, TWICE),
    "the same memory twice": (tied_memory, TWICE),
    "one model for all seeds": (lambda: ONE_FOR_ALL, TWICE),
}


@pytest.mark.parametrize("model", BAD_MODELS)
def test_bad_models(model):
    make_model, message = BAD_MODELS[model]
    with pytest.raises(ValueError, match=message):
        stack(make_model, [0, 1])
    with pytest.raises(ValueError, match=message):
        inputs, classes, _ = data([0, 1, 2])
        train(make_model, F.cross_entropy, inputs, classes, **OPTIONS)


UNLIKE = {
    "slope": lambda n: [nn.Linear(5, 4), nn.LeakyReLU(n / 10)],
    "approximation": lambda n: [
        nn.Linear(5, 4),
        nn.GELU(approximate="tanh" if n else "none"),
    ],
    "activation": lambda n: [nn.Linear(5, 4), nn.Tanh() if n else nn.ReLU()],
    "width": lambda n: [nn.Linear(5, 6 + n), nn.Linear(6 + n, 4)],
    "depth": lambda n: [nn.Linear(5, 4), *[nn.ReLU()] * n],
}


@pytest.mark.parametrize("layers", UNLIKE)
def test_seeds_that_are_unlike(layers):
    made = iter([0, 0, 1, 1])
    with pytest.raises(
        ValueError,
        match=r"(?s)^make_model must return the same layers for every seed, got "
        r"Sequential\(.*\) for seed 7 and Sequential\(.*\) for seed 9$",
    ):
        stack(lambda: nn.Sequential(*UNLIKE[layers](next(made))), [7, 8, 9, 5])


def test_a_fault_of_a_later_seed():
    made = iter([True, True, False])

    def make_model():
        return nn.Sequential(nn.Linear(5, 4).requires_grad_(next(made)))

    with pytest.raises(ValueError, match="with frozen parameters$"):
        stack(make_model, [0, 1, 2])


def test_no_seeds():
    with pytest.raises(
        ValueError, match=r"^seeds must hold at least one int.*got \[\]$"
    ):
        stack(network, [])


def test_stacked_linear_is_linear():
    layers = [nn.Linear(3, 2).double() for _ in range(4)]
    inputs = torch.randn(4, 6, 3, dtype=torch.float64)
    expected = torch.stack([layer(rows) for layer, rows in zip(layers, inputs)])
    assert torch.allclose(StackedLinear(layers)(inputs), expected, rtol=0, atol=1e-12)


def test_book_seeds(monkeypatch):
    monkeypatch.delenv("BOOK_SEED", raising=False)
    assert book_seeds(3) == [0, 1, 2] and book_seeds(0) == []
    with pytest.raises(ValueError, match="^count must be at least 0, got -1$"):
        book_seeds(-1)
    monkeypatch.setenv("BOOK_SEED", "7000")
    assert book_seeds(3) == [7000, 7001, 7002]
    monkeypatch.setenv("BOOK_SEED", "")
    assert book_seeds(1) == [0]


def measured(shift, seeds, rate=0.0, length=0):
    """A score per seed, in which everything is told apart."""
    return {
        "score": [shift + rate + seed for seed in seeds],
        "n": torch.ones(2) * length,
    }


def test_experiment():
    table = experiment(
        {"b": 10, "a": 20}, measured, seeds=[3, 4], rate=[0.5, 0.25], length=[7]
    )
    assert list(table.columns) == ["method", "rate", "length", "seed", "score", "n"]
    rows = [("b", 0.5), ("b", 0.25), ("a", 0.5), ("a", 0.25)]
    assert list(zip(table.method, table.rate))[::2] == rows
    assert table.score.tolist() == [13.5, 14.5, 13.25, 14.25, 23.5, 24.5, 23.25, 24.25]
    assert set(table.n) == {7.0} and set(table.seed) == {3, 4}


def test_experiment_without_a_knob():
    table = experiment({"a": 1}, measured, seeds=range(2))
    assert table.values.tolist() == [["a", 0, 1.0, 0.0], ["a", 1, 2.0, 0.0]]


@pytest.mark.parametrize("nothing", ["methods", "seeds", "rate"])
def test_experiment_without_anything_to_measure(nothing):
    full = {"methods": {"a": 1}, "seeds": [0, 1], "rate": [0.1]}
    arguments = full | {nothing: type(full[nothing])()}
    with pytest.raises(ValueError, match=f"^{nothing} must hold at least one, got "):
        experiment(arguments.pop("methods"), measured, **arguments)


def test_experiment_wants_a_value_per_seed():
    with pytest.raises(
        ValueError, match=r"one value per seed \(3\), got 2 for 'n' of 'a'"
    ):
        experiment({"a": 1}, measured, seeds=range(3))
