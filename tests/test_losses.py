import itertools
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, tensor
from torch.nn import functional as F

from helpers.losses import chosen_label_loss, marginal_loss, masked_bce

SEED = st.integers(0, 2**32 - 1)
UNKNOWN = [-1.0, 7.0, math.nan, math.inf, -math.inf]


def draw(seed, *shape):
    """Logits, targets, and known cells, which are candidates too; labels: (rows...)."""
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape, generator=random, dtype=torch.float64)
    targets = torch.rand(shape, generator=random).round().double()
    known = torch.rand(shape, generator=random) < 0.5
    known[..., 0] |= ~known.any(-1)
    chosen = torch.randint(shape[-1], shape[:-1], generator=random)
    return logits.requires_grad_(), targets, known, chosen


def losses_of(targets, known, chosen):
    """Each loss, as a function of the logits."""
    return {
        "masked": lambda logits: masked_bce(logits, targets, known),
        "weak": lambda logits: masked_bce(logits, targets, known, unknown_weight=0.3),
        "marginal": lambda logits: marginal_loss(logits, known),
        "chosen": lambda logits: chosen_label_loss(logits, chosen),
    }


def value_and_gradient(loss, logits):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits)
    [gradient] = torch.autograd.grad(value, logits)
    return value.detach(), gradient


@pytest.mark.parametrize("name", losses_of(None, None, None))
def test_gradients(name):
    logits, *rest = draw(0, 3, 2, 4)
    assert torch.autograd.gradcheck(losses_of(*rest)[name], logits)


@settings(deadline=None, max_examples=30)
@given(SEED, st.integers(1, 4), st.integers(1, 5))
def test_each_is_the_mean_over_rows_of_its_formula(seed, rows, labels):
    logits, targets, known, chosen = draw(seed, rows, labels)
    of_rows = {name: [] for name in losses_of(None, None, None)}
    for z, t, k, c in zip(logits.tolist(), targets.tolist(), known.tolist(), chosen):
        p = [1 / (1 + math.exp(-value)) for value in z]
        bce = [-math.log(q if one else 1 - q) for q, one in zip(p, t)]
        inside = sum(math.exp(value) for value, candidate in zip(z, k) if candidate)
        all_of_it = sum(map(math.exp, z))
        for name, weight in [("masked", 0), ("weak", 0.3)]:
            cells = [
                loss if one else -weight * math.log(1 - q)
                for loss, one, q in zip(bce, k, p)
            ]
            of_rows[name].append(sum(cells) / labels)
        of_rows["marginal"].append(-math.log(inside / all_of_it))
        of_rows["chosen"].append(-math.log(p[c] / (1 + sum(p) - p[c])))
    for name, loss in losses_of(targets, known, chosen).items():
        expected = sum(of_rows[name]) / rows
        assert loss(logits).item() == pytest.approx(expected, rel=1e-9, abs=1e-12), name


def test_any_number_of_axes():
    logits, *rest = draw(1, 2, 3, 4)
    row = [part[0, 0] for part in rest]
    flat = [part.flatten(0, 1) for part in rest]
    for name, loss in losses_of(*rest).items():
        assert loss(logits).shape == ()
        same = losses_of(*flat)[name](logits.flatten(0, 1))
        torch.testing.assert_close(loss(logits), same)
        assert losses_of(*row)[name](logits[0, 0]).shape == ()


def test_all_known_is_the_usual_mean():
    logits, targets, known, _ = draw(2, 5, 4)
    soft = 0.8 * targets + 0.1
    for same in (targets, targets.bool(), targets.long(), targets.half(), soft):
        expected = F.binary_cross_entropy_with_logits(logits, same.double())
        for weight in (0.0, 1 / 3):
            loss = masked_bce(
                logits, same, torch.ones_like(known), unknown_weight=weight
            )
            torch.testing.assert_close(loss, expected)


def test_nothing_known_teaches_nothing():
    logits, targets, known, _ = draw(3, 5, 4)
    value, gradient = value_and_gradient(
        lambda logits: masked_bce(logits, targets * math.nan, known & False), logits
    )
    assert value == 0 and not gradient.any()


def test_unknown_cells_as_zeros():
    logits, targets, known, _ = draw(4, 5, 4)
    loss = masked_bce(logits, targets, known, unknown_weight=1)
    expected = F.binary_cross_entropy_with_logits(logits, targets * known)
    torch.testing.assert_close(loss, expected)


def test_a_known_cell_weighs_the_same_whatever_else_is_known():
    logits, targets, known, _ = draw(5, 5, 4)
    parts = [masked_bce(logits, targets, mask) for mask in (known, ~known)]
    everything = masked_bce(logits, targets, known | True)
    torch.testing.assert_close(sum(parts), everything)


@pytest.mark.parametrize("unknown", UNKNOWN)
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_what_stands_in_an_unknown_cell_does_not_matter(unknown, weight):
    logits, targets, known, _ = draw(6, 5, 4)

    def at(unknown):
        filled = targets.masked_fill(~known, unknown)
        return value_and_gradient(
            lambda logits: masked_bce(logits, filled, known, unknown_weight=weight),
            logits,
        )

    for one, other in zip(at(unknown), at(0)):
        assert one.isfinite().all() and one.equal(other)


def test_minus_one_marks_what_is_unknown():
    logits, targets, known, _ = draw(7, 5, 4)
    marked = targets.long().masked_fill(~known, -1)
    loss = masked_bce(logits, marked, marked >= 0)
    assert loss == masked_bce(logits, targets, known)


def test_one_candidate_is_cross_entropy():
    logits, _, _, chosen = draw(8, 6, 4)
    loss = marginal_loss(logits, F.one_hot(chosen, 4).bool())
    torch.testing.assert_close(loss, F.cross_entropy(logits, chosen))


@settings(deadline=None, max_examples=30)
@given(SEED, st.sampled_from([torch.float32, torch.float64]))
def test_a_set_of_all_classes_says_exactly_nothing(seed, dtype):
    logits = draw(seed, 3, 7)[0].to(dtype) * 10
    value, gradient = value_and_gradient(
        lambda logits: marginal_loss(logits, torch.ones_like(logits).bool()), logits
    )
    assert value == 0 and not gradient.any()


def test_the_gradient_of_the_marginal_loss_is_p_minus_q():
    logits, _, candidates, _ = draw(9, 6, 5)
    candidates[:, 2] = False
    candidates[:, 0] |= ~candidates.any(-1)
    _, gradient = value_and_gradient(lambda z: marginal_loss(z, candidates), logits)
    p = logits.softmax(-1).detach()
    q = p * candidates / (p * candidates).sum(-1, keepdim=True)
    torch.testing.assert_close(6 * gradient, p - q)
    torch.testing.assert_close(6 * gradient[:, 2], p[:, 2])


def test_large_logits_lose_no_digits():
    logits = tensor([[1.5, 0.25, -2.0, 0.125]])
    candidates = tensor([[True, False, True, False]])
    small = value_and_gradient(lambda z: marginal_loss(z, candidates), logits)
    large = value_and_gradient(lambda z: marginal_loss(z, candidates), logits + 1e4)
    for one, other in zip(small, large):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_one_label_was_chosen_from_one():
    logits, *_ = draw(10, 5, 1)
    loss = chosen_label_loss(logits, torch.zeros(5, dtype=torch.int64))
    torch.testing.assert_close(loss, -F.logsigmoid(logits).mean())


def test_improbable_labels_lose_no_digits():
    loss = chosen_label_loss(tensor([[40.0, -20.0, -20.0]]), tensor([0]))
    assert loss.item() == pytest.approx(2 * math.exp(-20), rel=1e-5, abs=0)


def exact(p, j):
    """-log of the probability that j is annotated, as a sum over all label sets."""
    total = 0
    for labels in itertools.product([0, 1], repeat=len(p)):
        if labels[j]:
            chance = math.prod(q if one else 1 - q for q, one in zip(p, labels))
            total += chance / sum(labels)
    return -math.log(total)


@settings(deadline=None, max_examples=30)
@given(SEED)
def test_the_approximation_is_never_too_small_and_seldom_much_too_large(seed):
    logits, _, _, chosen = draw(seed, 6)
    error = chosen_label_loss(logits, chosen).item() - exact(
        logits.sigmoid().tolist(), chosen
    )
    assert -1e-12 < error < 0.21


def test_where_the_approximation_is_worst():
    # Of six labels, all with p = 0.237.
    errors = [
        chosen_label_loss(tensor([p] * 6).logit(), tensor(0)).item() - exact([p] * 6, 0)
        for p in (0.15, 0.237, 0.35)
    ]
    assert max(errors) == errors[1] == pytest.approx(0.2098, abs=1e-4)
    # Of very many, where 1.79 others are true on average; the sum has a closed form.
    labels, others = 100_000, 1.7933
    p = others / (labels - 1)
    logits = torch.full((labels,), math.log(p / (1 - p)), dtype=torch.float64)
    whole = -math.log((1 - (1 - p) ** labels) / labels)
    worst = chosen_label_loss(logits, tensor(0)).item() - whole
    assert 0.2611 < worst < 0.262


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", losses_of(None, None, None))
def test_extreme_logits(name, dtype):
    signs = list(itertools.product([1.0, -1.0, 0.0], repeat=3))
    targets, candidates = tensor([0.0, 1.0, 1.0]), tensor([True, False, True])
    rows = (part.expand(len(signs), 3) for part in (targets, candidates))
    loss = losses_of(*rows, torch.full((len(signs),), 1))[name]
    value, gradient = value_and_gradient(loss, 1e4 * tensor(signs, dtype=dtype))
    assert value.dtype == dtype and gradient.dtype == dtype
    assert value.isfinite() and value > 0
    assert gradient.isfinite().all() and gradient.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "name, expected",
    [
        ("masked", 10 * 2**15 / 70_000),
        ("weak", (10 + 0.3 * 69_990) * 2**15 / 70_000),
        ("marginal", 2**16 + math.log(69_990 / 10)),
        ("chosen", 2**15 + math.log(1 + 69_990)),
    ],
)
def test_half_precision_does_not_overflow(name, expected, dtype):
    # More labels than float16 counts; the logits, 2^15 and -2^15, are exact in both.
    layer = nn.Linear(1, 70_000, bias=False)
    nn.init.constant_(layer.weight, 2**15)
    nn.init.constant_(layer.weight[:10], -(2**15))
    first = (torch.arange(70_000) < 10)[None]
    loss = losses_of(first.half(), first, tensor([0]))[name]
    with torch.autocast("cpu", dtype=dtype):
        logits = layer(torch.ones(1, 1))
        value = loss(logits)
    assert logits.dtype == dtype and value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-6)
    value.backward()
    assert layer.weight.grad.isfinite().all() and layer.weight.grad.any()


# What is right, and one thing after another in its place.
ZERO = torch.zeros(2, 3)
TRUE = torch.ones(2, 3, dtype=torch.bool)
BCE = {"logits": ZERO, "targets": ZERO, "known": TRUE}
SETS = {"logits": ZERO, "candidates": TRUE}
CHOSEN = {"logits": ZERO, "chosen": tensor([0, 2])}
LOGITS = [
    ([[0.0]], "a tensor, got list"),
    (ZERO.numpy(), "a tensor, got ndarray"),
    (ZERO.long(), "floating-point numbers, got torch.int64"),
    (tensor(0.0), "at least one row and one label, got ()"),
    (torch.zeros(0, 3), "at least one row and one label, got (0, 3)"),
    (torch.zeros(2, 0), "at least one row and one label, got (2, 0)"),
    (ZERO + tensor([0, math.nan, 0]), "finite, got values from nan to nan"),
    (ZERO + tensor([0, math.inf, 0]), "finite, got values from 0 to inf"),
    (ZERO + tensor([0, -math.inf, 0]), "finite, got values from -inf to 0"),
]
SHAPE = "shape (2, 3) to go with the logits, got "


@pytest.mark.parametrize(
    "loss, right, name, wrong, message",
    [
        *[
            (loss, right, "logits", *case)
            for loss, right in [
                (masked_bce, BCE),
                (marginal_loss, SETS),
                (chosen_label_loss, CHOSEN),
            ]
            for case in LOGITS
        ],
        *[
            (masked_bce, BCE, *case)
            for case in [
                ("targets", [[0.0]], "a tensor, got list"),
                ("targets", ZERO[:1], f"{SHAPE}(1, 3)"),
                ("targets", tensor(0.0), f"{SHAPE}()"),
                ("targets", ZERO - 1, "0 to 1 where known, got values from -1 to -1"),
                ("targets", ZERO.long() - 1, "known=targets >= 0"),
                ("targets", TRUE * 1.5, "got values from 1.5 to 1.5"),
                ("targets", ZERO + math.nan, "got values from nan to nan"),
                ("known", [[True]], "a tensor, got list"),
                ("known", TRUE[:, :1], f"{SHAPE}(2, 1)"),
                ("known", TRUE.long(), "torch.bool, got torch.int64"),
                ("unknown_weight", -0.1, "at least 0 and finite, got -0.1"),
                ("unknown_weight", math.nan, "at least 0 and finite, got nan"),
                ("unknown_weight", math.inf, "at least 0 and finite, got inf"),
                ("unknown_weight", tensor([0.1]), "one number"),
                ("unknown_weight", None, "one number"),
            ]
        ],
        *[
            (marginal_loss, SETS, "candidates", *case)
            for case in [
                ([[True]], "a tensor, got list"),
                (TRUE[:1], f"{SHAPE}(1, 3)"),
                (TRUE.float(), "torch.bool, got torch.float32"),
                (TRUE & tensor([[True], [False]]), "got none in 1 of 2 rows"),
                (~TRUE, "got none in 2 of 2 rows"),
            ]
        ],
        *[
            (chosen_label_loss, CHOSEN, "chosen", *case)
            for case in [
                ([0, 2], "a tensor, got list"),
                (tensor([[0], [2]]), "shape (2,) to go with the logits, got (2, 1)"),
                (tensor([0.0, 2.0]), "torch.int64, got torch.float32"),
                (tensor([0, -1]), "labels from 0 to 2, got values from -1 to 0"),
                (tensor([1, 3]), "labels from 0 to 2, got values from 1 to 3"),
            ]
        ],
    ],
)
def test_refused(loss, right, name, wrong, message):
    assert loss(**right).isfinite()
    with pytest.raises(ValueError, match=f"^{name} must .*{re.escape(message)}"):
        loss(**right | {name: wrong})


def test_one_wrong_cell_is_enough():
    for wrong in UNKNOWN:
        targets = ZERO.clone()
        targets[1, 2] = wrong
        with pytest.raises(ValueError, match="^targets must be from 0 to 1 where"):
            masked_bce(ZERO, targets, TRUE)
