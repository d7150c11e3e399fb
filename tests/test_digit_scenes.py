import numpy as np
import torch
from sklearn.datasets import load_digits

from helpers.data import digit_scenes


def places(inputs):
    """The four 8 x 8 places of each scene, as (N, 4, 64)."""
    return inputs.reshape(-1, 2, 8, 2, 8).swapaxes(2, 3).reshape(-1, 4, 64)


def test_the_labels_are_the_digits_in_the_scene():
    known = {(image / 16).tobytes(): digit for image, digit in zip(*load_digits(return_X_y=True))}
    for inputs, targets in zip(*[iter(digit_scenes(300, 200, seed=3))] * 2):
        for scene, row in zip(places(inputs).numpy(), targets):
            found = {known[place.tobytes()] for place in scene if place.any()}
            assert found == set(row.nonzero()[:, 0].tolist())


def test_train_and_test_use_different_digits():
    train, _, test, _ = digit_scenes(2000, 2000, seed=4)
    handwriting = [{place.tobytes() for place in places(inputs).flatten(0, 1).numpy() if place.any()} for inputs in (train, test)]
    assert all(len(found) > 300 for found in handwriting) and handwriting[0].isdisjoint(handwriting[1])


def test_frequencies():
    _, targets, _, _ = digit_scenes(20000, 1, seed=5)
    weights = 1 / np.arange(1, 11)
    expected = 1 - (1 - 0.5 * weights / weights.sum()) ** 4
    assert np.allclose(targets.mean(0), expected, atol=0.015)
    assert abs((targets.sum(1) == 0).double().mean() - 0.5**4) < 0.01


def test_shapes_and_seeds():
    first, again, other = (digit_scenes(7, 5, seed) for seed in (0, 0, 1))
    assert [tuple(part.shape) for part in first] == [(7, 256), (7, 10), (5, 256), (5, 10)]
    assert all(part.dtype == torch.float64 for part in first)
    assert first[0].min() == 0 and first[0].max() == 1
    assert all(torch.equal(a, b) for a, b in zip(first, again)) and not torch.equal(first[0], other[0])
