"""The functions to copy in the chapter calibration, on what readers give them."""

import pytest
import torch
from torch import nn

from teach import notebook_of

CELLS = {cell.id: cell.source for cell in notebook_of("calibration").cells}
COPIED = {"torch": torch, "nn": nn}
for name in ("error", "floor", "undo", "platt"):
    exec(CELLS[name], COPIED)
calibration_error, floor = COPIED["calibration_error"], COPIED["floor"]
meant, repair = COPIED["meant"], COPIED["repair"]


@pytest.fixture
def chance():
    return torch.Generator().manual_seed(0)


def probabilities(chance, rows=400, labels=3):
    return torch.rand(rows, labels, generator=chance, dtype=torch.float64)


def test_the_error_of_two_groups_by_hand():
    p = torch.tensor([[0.1], [0.9], [0.3], [0.7]])
    y = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    assert calibration_error(p, y, groups=2).tolist() == pytest.approx([0.25])


def test_fewer_rows_than_groups_give_a_number(chance):
    p = probabilities(chance, rows=3)
    assert calibration_error(p, torch.zeros(3, 3)).tolist() == pytest.approx(
        p.mean(0).tolist()
    )


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_targets_of_any_type_give_the_same(chance, dtype):
    p = probabilities(chance)
    y = torch.bernoulli(p, generator=chance)
    assert torch.equal(calibration_error(p, y.to(dtype)), calibration_error(p, y))
    for one, other in zip(repair(p, y.to(dtype), 3, 3), repair(p, y, 3, 3)):
        assert torch.equal(one, other)


def test_equal_probabilities_need_shuffled_rows(chance):
    """The text before the function says so."""
    p = torch.full((1000, 1), 0.3, dtype=torch.float64)
    y = (torch.arange(1000)[:, None] < 300).double()
    mixed = y[torch.randperm(1000, generator=chance)]
    assert calibration_error(p, mixed) < 0.06 < 0.3 < calibration_error(p, y)


def test_the_floor_is_what_right_probabilities_show(chance):
    p = probabilities(chance)
    drawn = [torch.bernoulli(p, generator=chance) for _ in range(200)]
    shown = torch.stack([calibration_error(p, y) for y in drawn]).mean(0)
    assert floor(p, draws=200).mean(0).tolist() == pytest.approx(
        shown.tolist(), rel=0.1
    )


def test_a_weight_is_undone_by_its_logarithm():
    z = torch.linspace(-3, 3, 7, dtype=torch.float64)
    nine = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(9.0), reduction="none")
    expected = (z - torch.tensor(9.0).log()).sigmoid()
    assert meant(nine, z).tolist() == pytest.approx(expected.tolist())


def test_logits_of_a_network_are_repaired_as_they_come(chance):
    """With their gradients; and all labels at once as each alone."""
    z = probabilities(chance).mul(6).sub(3).requires_grad_() * 2
    y = torch.bernoulli((z.detach() / 2 - 1).sigmoid(), generator=chance)
    a, b = repair(z, y, 3, 3)
    alone = [repair(z[:, [k]], y[:, [k]], 1, 1) for k in range(3)]
    assert a.tolist() == pytest.approx([a.item() for a, _ in alone], abs=1e-3)
    assert b.tolist() == pytest.approx([b.item() for _, b in alone], abs=1e-3)
    assert a.tolist() == pytest.approx([0.5] * 3, abs=0.15)
    assert b.tolist() == pytest.approx([-1] * 3, abs=0.4)


def test_a_label_without_positives_is_not_sent_to_infinity(chance):
    z = probabilities(chance)
    _, b = repair(z, torch.zeros(400, 3), 1, 3)
    assert (b > -12).all() and (b < 0).all()
