"""Exercises: a check that says right, not yet, or gives a hint on a common wrong answer."""

import numbers
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Exercise:
    """One exercise's check. Call it with an answer; it prints one sentence and returns nothing.

    name: how the sentence calls it, such as "Exercise 1".
    right: the right answer: a number, a string, a bool, or an array, list, tuple or tensor of numbers.
    hints: pairs (wrong answer, sentence), tried in order.
    tolerance: how far a number may be from `right`.
    of: for answers that are functions: called with the answer, returns what is compared with `right`.

    `...` and None count as not answered. An answer of another kind or shape than `right` is told so.
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
        if self._same(value, self.right):
            return "right."
        for wrong, hint in self.hints:
            if self._same(value, self._value(wrong)):
                return f"not yet. {hint}"
        if _kind(value) != _kind(self.right):
            return f"not yet. The answer should be {_kind(self.right)}, and this is {_kind(value)}."
        return "not yet."

    def _value(self, answer):
        return self.of(answer) if self.of else answer

    def _same(self, a, b):
        if _kind(a) != _kind(b):
            return False
        if isinstance(a, (str, bool)):
            return a == b
        return np.allclose(np.asarray(a, dtype=float), np.asarray(b, dtype=float), rtol=0, atol=self.tolerance)


def _kind(value):
    if isinstance(value, (bool, np.bool_)):
        return "True or False"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, numbers.Number) or getattr(value, "shape", None) == ():
        return "a number"
    try:
        return f"numbers of shape {tuple(np.asarray(value, dtype=float).shape)}"
    except (TypeError, ValueError):
        return f"a {type(value).__name__}"
