from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from helpers.seeds import ACTIVATIONS, StackedLinear, book_seeds, seeded, stack, train

pytestmark = pytest.mark.usefixtures("one_thread")

SGD = partial(torch.optim.SGD, lr=0.1)
MOMENTUM = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01)
ADAM = partial(torch.optim.Adam, lr=0.01)


def network():
    return nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4)
    )


def bce_sum(logits, targets):
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(
        logits
    )


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


@pytest.mark.parametrize(
    "optimizer", [SGD, MOMENTUM, ADAM], ids=["SGD", "momentum", "Adam"]
)
@pytest.mark.parametrize(
    "loss, multi_hot",
    [
        (F.cross_entropy, False),
        (F.binary_cross_entropy_with_logits, True),
        (bce_sum, True),
        (F.mse_loss, True),
    ],
    ids=["cross-entropy", "BCE", "BCE summed over labels", "squared error"],
)
def test_together_is_the_plain_loop_over_seeds(optimizer, loss, multi_hot):
    seeds = [3, 0, 1000, 7]
    inputs, classes, labels = data(seeds)
    targets = labels if multi_hot else classes
    together = train(
        network,
        loss,
        inputs,
        targets,
        seeds=seeds,
        steps=60,
        batch_size=16,
        optimizer=optimizer,
    )
    for number, seed in enumerate(seeds):
        alone = plain_loop(
            network, loss, inputs[number], targets[number], seed, 60, 16, optimizer
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
    """float32 draws differ in the eighth digit between processors, and converting them keeps the difference."""
    weight = seeded(network, 0)[0].weight
    assert weight.dtype == torch.float64 and (weight.float().double() != weight).any()
    with pytest.raises(RuntimeError):
        seeded(lambda: torch.zeros(1) + torch.zeros(2, 3) @ torch.zeros(2), 0)
    assert torch.get_default_dtype() == torch.float32


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


def test_every_activation_is_as_for_one_model():
    inputs, _, _ = data([0, 1])
    for activation in ACTIVATIONS:
        make_model = lambda: nn.Sequential(
            nn.Linear(5, 8), activation(), nn.Linear(8, 4)
        )
        for number, outputs in enumerate(stack(make_model, [0, 1])(inputs)):
            assert torch.allclose(
                outputs, seeded(make_model, number)(inputs[number]), rtol=0, atol=1e-12
            )


OPTIONS = {"seeds": [0, 1, 2], "steps": 1, "batch_size": 8, "optimizer": SGD}


@pytest.mark.parametrize(
    "spoil, message",
    [
        (
            lambda x, y: (x[0], y),
            r"^inputs must have shape \(seeds, samples, features\) with 3 seeds, got \(50, 5\)",
        ),
        (
            lambda x, y: (x[:2], y[:2]),
            r"^inputs must have shape \(seeds, samples, features\) with 3 seeds, got \(2, 50, 5\)",
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
        (lambda x, y: (x / 0, y), r"^inputs must be finite"),
        (
            lambda x, y: (x[:, :, :4], y),
            r"^inputs must have shape \(3 seeds, samples, 5 features\), got \(3, 8, 4\)",
        ),
    ],
)
def test_bad_data(spoil, message):
    inputs, classes, _ = data([0, 1, 2])
    inputs, targets = spoil(inputs, classes)
    with pytest.raises(ValueError, match=message):
        train(network, F.cross_entropy, inputs, targets, **OPTIONS)


def test_no_seeds_and_no_batch():
    inputs, classes, _ = data([0, 1, 2])
    with pytest.raises(ValueError, match="^inputs must have shape .* with 0 seeds"):
        train(
            network, F.cross_entropy, inputs[:0], classes[:0], **OPTIONS | {"seeds": []}
        )
    with pytest.raises(ValueError, match="^batch_size must be at least 1, got 0"):
        train(network, F.cross_entropy, inputs, classes, **OPTIONS | {"batch_size": 0})


def test_a_trained_model_refuses_other_shapes():
    inputs, classes, _ = data([0, 1, 2])
    model = train(network, F.cross_entropy, inputs, classes, **OPTIONS)
    for wrong in (inputs[0], inputs[:1], inputs[:, :, :4], inputs[None]):
        with pytest.raises(
            ValueError,
            match=r"^inputs must have shape \(3 seeds, samples, 5 features\), got",
        ):
            model(wrong)


@pytest.mark.parametrize(
    "loss",
    [
        partial(F.cross_entropy, reduction="sum"),
        partial(F.cross_entropy, reduction="none"),
        partial(
            F.cross_entropy, weight=torch.tensor([1.0, 1, 1, 9], dtype=torch.float64)
        ),
    ],
    ids=["sum", "none", "class weights"],
)
def test_a_loss_that_is_not_a_mean_over_samples(loss):
    inputs, classes, _ = data([0, 1, 2])
    with pytest.raises(ValueError, match="^loss must be a mean over samples"):
        train(network, loss, inputs, classes, **OPTIONS)


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(5),
        nn.BatchNorm1d(5, affine=False, track_running_stats=False),
        nn.LayerNorm(5),
        nn.Dropout(),
        nn.AlphaDropout(),
        nn.Linear(5, 5, bias=False),
        nn.Conv1d(5, 5, 1),
        nn.PReLU(),
        nn.Flatten(),
        nn.Softmax(dim=1),
        nn.Sequential(nn.ReLU()),
    ],
    ids=repr,
)
def test_bad_layers(layer):
    with pytest.raises(
        ValueError,
        match=r"^make_model must hold Linear layers with bias and activations \(ReLU, .*\) only, got "
        + type(layer).__name__,
    ):
        stack(lambda: nn.Sequential(nn.Linear(5, 5), layer), [0])


def test_a_model_that_is_no_sequence():
    with pytest.raises(
        ValueError, match="^make_model must return an nn.Sequential, got Linear"
    ):
        stack(lambda: nn.Linear(5, 4), [0, 1])


def test_stacked_linear_is_linear():
    layers = [nn.Linear(3, 2).double() for _ in range(4)]
    inputs = torch.randn(4, 6, 3, dtype=torch.float64)
    expected = torch.stack([layer(rows) for layer, rows in zip(layers, inputs)])
    assert torch.allclose(StackedLinear(layers)(inputs), expected, rtol=0, atol=1e-12)


def test_book_seeds(monkeypatch):
    monkeypatch.delenv("BOOK_SEED", raising=False)
    assert book_seeds(3) == [0, 1, 2] and book_seeds(0) == []
    monkeypatch.setenv("BOOK_SEED", "7000")
    assert book_seeds(3) == [7000, 7001, 7002]
    monkeypatch.setenv("BOOK_SEED", "")
    assert book_seeds(1) == [0]
