"""Exercises: a check that says right, not yet, or gives a hint on a wrong answer."""

import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-12  # relative: float64 rounds a sum of a thousand numbers by less


@dataclass
class Exercise:
    """One exercise's check. Call it with an answer: it prints one sentence.

    It never raises, and returns nothing; where an answer raises, the sentence says so.

    name: how the sentence calls it, such as "Exercise 1".
    right: the right answer: a number, a string, a bool, or an array, list, tuple or
    tensor of one of them. Strings and bools are compared exactly.
    hints: pairs (wrong answer, sentence), tried in order.
    tolerance: how far every number may be from that of `right`, in the same units
    (absolute; the rounding of large numbers, 1e-12 of `right`, is allowed on top).
    of: for answers that are functions: called with the answer, returns what is compared
    with `right`. It is called with every hint's wrong answer too, at once.
    each: for a `right` of several letters, one hint per letter, given whenever that
    letter is wrong, or a dict from wrong letter to hint. An answer with several slips
    gets all their hints. Spaces, commas and the case of the letters do not matter.

    `...` and None count as not answered. An answer of another kind or shape than
    `right` is told so; lists, tuples, arrays and tensors are one kind, numbers, strings
    and bools are three, but in a row True is 1. See the exercises of any chapter.

    Raises ValueError for a `right` of another kind or with NaN, for a tolerance that is
    negative or not finite, and for a hint that its wrong answer does not get: because
    that is right, or raises, or gets an earlier hint; and for an `each` that does not
    have one hint per letter, or a hint for the right letter.
    """

    name: str
    right: object
    hints: Sequence[tuple[object, str]] = ()
    tolerance: float = 1e-9
    of: Callable | None = None
    each: Sequence[str | Mapping[str, str]] = ()

    def __post_init__(self):
        if not (
            isinstance(self.tolerance, numbers.Real) and 0 <= self.tolerance < np.inf
        ):
            raise ValueError(
                "tolerance must be a finite number of at least 0, "
                f"got {self.tolerance!r}"
            )
        self._right = _plain(self.right)
        if _kind(self._right)[0] not in ("number", "string", "bool"):
            raise ValueError(
                "right must hold numbers, strings or bools, "
                f"got {_in_words(self._right)}"
            )
        if not self._same(self._right, self._right):
            raise ValueError(f"right must not hold NaN, got {self.right!r}")
        self._check_each()
        for wrong, hint in self.hints:
            if (said := self.verdict(wrong)) != f"not yet. {hint}":
                raise ValueError(
                    f"{self.name}: the wrong answer {wrong!r} must get its hint, "
                    f"{hint!r}, and gets {said!r}"
                )

    def __call__(self, answer: object) -> None:
        print(f"{self.name}: {self.verdict(answer)}")

    def verdict(self, answer: object) -> str:
        """The sentence that a call prints, without the exercise's name."""
        if answer is ... or answer is None:
            return "not answered yet."
        try:
            value = self._value(answer)
            if self._same(value, self._right):
                return "right."
            for wrong, hint in self.hints:
                if self._same(value, self._value(wrong)):
                    return f"not yet. {hint}"
            if self.each and isinstance(value, str):
                return f"not yet. {self._slips(value)}"
            if _kind(value) != _kind(self._right):
                return (
                    f"not yet. The answer should be {_in_words(self._right)}, "
                    f"and this is {_in_words(value)}."
                )
        except Exception as error:
            return f"your answer raises {type(error).__name__}: {error}"
        return "not yet."

    def _value(self, answer):
        if self.each and isinstance(answer, str):
            return _letters(answer)
        return _plain(self.of(answer) if self.of else answer)

    def _check_each(self):
        if not self.each:
            return
        if not isinstance(self.right, str) or len(self.each) != len(self.right):
            raise ValueError(
                f"each must have one hint for each letter of {self.right!r}, "
                f"got {len(self.each)}"
            )
        if self.right != _letters(self.right):
            raise ValueError(f"right must be capital letters, got {self.right!r}")
        for letter, hint in zip(self.right, self.each):
            if isinstance(hint, Mapping) and letter in hint:
                raise ValueError(f"each has a hint for the right letter {letter!r}")

    def _slips(self, letters):
        """The hints for the letters that are wrong."""
        if len(letters) != len(self.right):
            return (
                f"The answer should have {len(self.right)} letters, "
                f"and this has {len(letters)}."
            )
        hints = []
        for number, letter in enumerate(letters):
            if letter != self.right[number]:
                hint = self.each[number]
                if not isinstance(hint, str):
                    hint = hint.get(letter, f"Look at answer {number + 1} again.")
                hints.append(hint)
        return " ".join(dict.fromkeys(hints))  # each once

    def _same(self, a, b):
        if _kind(a) != _kind(b):
            return False
        if _kind(a)[0] != "number":
            return a == b
        a, b = np.array(a, dtype=float), np.array(b, dtype=float)
        return np.allclose(a, b, rtol=ROUNDING, atol=self.tolerance)


def _letters(answer):
    return re.sub(r"[\s,;]", "", answer).upper()


def _plain(value):
    """Tuples, arrays and tensors (with or without gradient) as lists of scalars."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _kind(value):
    """What a plain value is made of, and its shape. Only equal kinds are compared."""
    items = np.array(value, dtype=object)
    words = {_word(item) for item in items.flat} or {"number"}
    if items.shape and words <= {"number", "bool"}:
        words = {"number"}  # a row of targets may be written either way
    return (words.pop(), items.shape) if len(words) == 1 else ("list", ())


def _word(item):
    if isinstance(item, numbers.Real) and not isinstance(item, bool):
        return "number"
    return "string" if isinstance(item, str) else type(item).__name__


def _in_words(value):
    word, shape = _kind(value)
    return f"{word}s of shape {shape}" if shape else f"a {word}"
