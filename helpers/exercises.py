"""Exercises: a check that says right, not yet, or gives a hint on a common wrong answer."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Exercise:
    """One exercise's check. Call it with an answer; it prints one sentence, also where the answer raises, and returns nothing.

    name: how the sentence calls it, such as "Exercise 1".
    right: the right answer: a number, a string (compared exactly), a bool, or an array, list, tuple or tensor of numbers.
    hints: pairs (wrong answer, sentence), tried in order.
    tolerance: how far every number may be from that of `right`, in the same units (absolute, not relative).
    of: for answers that are functions: called with the answer, returns what is compared with `right`.

    `...` and None count as not answered. An answer of another kind or shape than `right` is told so; lists, tuples, arrays and
    tensors are one kind. See the exercises at the end of any chapter.
    """

    name: str
    right: object
    hints: list = field(default_factory=list)
    tolerance: float = 1e-9
    of: object = None

    def __call__(self, answer):
        print(f"{self.name}: {self.verdict(answer)}")

    def verdict(self, answer):
        if answer is ... or answer is None:
            return "not answered yet."
        try:
            value = self._value(answer)
        except Exception as error:
            return f"your answer raises {type(error).__name__}: {error}"
        right = _plain(self.right)
        if self._same(value, right):
            return "right."
        for wrong, hint in self.hints:
            if self._same(value, self._value(wrong)):
                return f"not yet. {hint}"
        if _kind(value) != _kind(right):
            return f"not yet. The answer should be {_kind(right)}, and this is {_kind(value)}."
        return "not yet."

    def _value(self, answer):
        return _plain(self.of(answer) if self.of else answer)

    def _same(self, a, b):
        if _kind(a) != _kind(b):
            return False
        if _numbers(a) is None:
            return a == b
        return np.allclose(_numbers(a), _numbers(b), rtol=0, atol=self.tolerance)


def _plain(value):
    """Tuples, arrays and tensors (with or without gradient) as lists, and their scalars as Python's."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _numbers(value):
    """A plain value as a float array, or None where it is something other than numbers."""
    if value is None or isinstance(value, (bool, str)):
        return None
    try:
        return np.array(value, dtype=float)
    except (TypeError, ValueError, OverflowError):
        return None


def _kind(value):
    """What kind of answer a plain value is, in words. Only answers of one kind are compared."""
    if _numbers(value) is None:
        return {bool: "True or False", str: "a string"}.get(
            type(value), f"a {type(value).__name__}"
        )
    shape = _numbers(value).shape
    return f"numbers of shape {shape}" if shape else "a number"
