"""Exercises: a check that says right, not yet, or gives a hint on a wrong answer.

`Exercise` knows the right answer, and `Sealed` only what it hashes to. Both need the
standard library alone: the book is built, and a student's notebook checked, with them.
"""

import base64
import hashlib
import json
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ROUNDING = 1e-12  # relative: float64 rounds a sum of a thousand numbers by less


class Check:
    """What `Exercise` and `Sealed` say, and in which order they look.

    Call one with an answer: it prints one sentence. It never raises, and returns
    nothing; where an answer raises, the sentence says so.
    """

    def __call__(self, answer: object) -> None:
        print(f"{self.name}: {self.verdict(answer)}")

    def verdict(self, answer: object) -> str:
        """The sentence that a call prints, without the exercise's name."""
        if answer is ... or answer is None:
            return "not answered yet."
        try:
            value = self._value(answer)
            if said := self._known(value):
                return said
            if self.each and isinstance(value, str):
                return f"not yet. {self._slips(value)}"
            if _kind(value) != self._kind:
                return (
                    f"not yet. The answer should be {_in_words(*self._kind)}, "
                    f"and this is {_in_words(*_kind(value))}."
                )
        except Exception as error:
            return f"your answer raises {type(error).__name__}: {error}"
        return "not yet."

    def _value(self, answer):
        if self.each and isinstance(answer, str):
            return _letters(answer)
        return _plain(self.of(answer) if self.of else answer)

    def _slips(self, letters):
        """The hints for the letters that are wrong."""
        if len(letters) != len(self.each):
            return (
                f"The answer should have {len(self.each)} letters, "
                f"and this has {len(letters)}."
            )
        hints = [self._slip(*position) for position in enumerate(letters)]
        return " ".join(dict.fromkeys(filter(None, hints)))  # each once


@dataclass
class Exercise(Check):
    """One exercise's check, with the answers in plain words.

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
            isinstance(self.tolerance, numbers.Real) and 0 <= self.tolerance < math.inf
        ):
            raise ValueError(
                "tolerance must be a finite number of at least 0, "
                f"got {self.tolerance!r}"
            )
        self._right = _plain(self.right)
        self._kind = _kind(self._right)
        if self._kind[0] not in ("number", "string", "bool"):
            raise ValueError(
                "right must hold numbers, strings or bools, "
                f"got {_in_words(*self._kind)}"
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

    def sealed(self, chapter: str = "", reason: str = "") -> str:
        """This check for `Sealed`, as text from which no answer can be read off.

        An answer becomes a salted hash, and a hint is masked with its wrong answer.
        That hides both from the eye, not from a program that tries all answers.

        chapter: goes into the salt, so that equal answers look different.
        reason: a sentence that is told after "right."; the right answer unmasks it.

        Returns masked JSON, the same whenever it is made. Raises ValueError where a
        hint's wrong answer is neither of numbers nor of strings nor of bools.
        """
        salt = f"{chapter}: {self.name}"
        # A millionth more, for the rounding of the shifts: the edge is inside.
        tolerance = float(self.tolerance) * (1 + 1e-6)
        answers = [(self._right, reason)]
        answers += [(self._value(wrong), hint) for wrong, hint in self.hints]
        seal = {
            "salt": salt,
            "tolerance": tolerance,
            "answers": [_sealed_answer(salt, tolerance, *pair) for pair in answers],
            "each": [
                _sealed_letter(salt, number, *pair)
                for number, pair in enumerate(zip(self.right, self.each))
            ]
            if self.each
            else [],
        }
        return masked(json.dumps(seal, separators=(",", ":")), "seal")

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

    def _known(self, value):
        if self._same(value, self._right):
            return "right."
        for wrong, hint in self.hints:
            if self._same(value, self._value(wrong)):
                return f"not yet. {hint}"

    def _slip(self, number, letter):
        if letter != self.right[number]:
            hint = self.each[number]
            if isinstance(hint, str):
                return hint
            return hint.get(letter, _look_again(number))

    def _same(self, a, b):
        if _kind(a) != _kind(b):
            return False
        if _kind(a)[0] != "number":
            return a == b
        return all(
            _near(float(one), float(other), self.tolerance)
            for one, other in zip(_items(a), _items(b))
        )


class Sealed(Check):
    """An exercise's check that says what the `Exercise` says, without knowing answers.

    name: how the sentence calls it.
    seal: what `Exercise.sealed` returned; spaces and line breaks do not matter.
    of: as for the `Exercise`.

    Where the seal has a reason, it is told after "right.". The two differ only at the
    very edge of the tolerance, by a millionth of it or by the rounding of the numbers.
    """

    def __init__(self, name: str, seal: str, of: Callable | None = None):
        self.name, self.of = name, of
        self._seal = json.loads(unmasked(seal, "seal"))
        self.each = self._seal["each"]
        self._kind = _as_kind(self._seal["answers"][0])

    def _known(self, value):
        salt, tolerance = self._seal["salt"], self._seal["tolerance"]
        for number, answer in enumerate(self._seal["answers"]):
            if _kind(value) != _as_kind(answer):
                continue
            text = _text(value, tolerance, answer["grid"])
            if _hash(salt, text) == answer["hash"]:
                said = unmasked(answer["said"], salt, text)
                return f"not yet. {said}" if number else f"right. {said}".strip()

    def _slip(self, number, letter):
        salt, sealed = self._seal["salt"], self.each[number]
        position = str(number)
        found = _hash(salt, position, letter)
        if found == sealed["hash"]:
            return None
        if "any" in sealed:
            return unmasked(sealed["any"], salt, position)
        if found in sealed["hints"]:
            return unmasked(sealed["hints"][found], salt, position, letter)
        return _look_again(number)


def _look_again(number):
    return f"Look at answer {number + 1} again."


def _letters(answer):
    return re.sub(r"[\s,;]", "", answer).upper()


# Values and their kinds. book/_static/exercises.js does the same from here on.


def _plain(value):
    """Tuples, arrays and tensors (with or without gradient) as lists of scalars."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value.__array__().tolist() if hasattr(value, "__array__") else value


def _kind(value):
    """What a plain value is made of, and its shape. Only equal kinds are compared."""
    shape = _shape(value)
    words = {_word(item) for item in _items(value, len(shape))} or {"number"}
    if shape and words <= {"number", "bool"}:
        words = {"number"}  # a row of targets may be written either way
    return (words.pop(), shape) if len(words) == 1 else ("list", ())


def _shape(value):
    """The lengths of nested lists, as deep as they are the same everywhere."""
    if not isinstance(value, list):
        return ()
    inside = [_shape(item) for item in value]
    same = []
    for lengths in zip(*inside):
        if len(set(lengths)) > 1:
            break
        same.append(lengths[0])
    return (len(value), *same)


def _items(value, depth=math.inf):
    """What stands in nested lists, in one list."""
    if not isinstance(value, list) or not depth:
        return [value]
    return [inner for item in value for inner in _items(item, depth - 1)]


def _word(item):
    if isinstance(item, numbers.Real) and not isinstance(item, bool):
        return "number"
    return "string" if isinstance(item, str) else type(item).__name__


def _in_words(word, shape):
    return f"{word}s of shape {shape}" if shape else f"a {word}"


def _near(number, right, tolerance):
    if math.isinf(number) or math.isinf(right):
        return number == right
    return abs(number - right) <= tolerance + ROUNDING * abs(right)


# Seals. A number is hidden in a grid of points like it, so far apart that no answer is
# near two of them. Its scale is a power of ten and its shift in [0, 1), in steps of the
# grid: they tell what is left of the number after dividing by the step, and no more.
# Near a point, an answer becomes the point's index.


def _point(number, tolerance):
    """The grid through a number: the exponent of its scale, and its shift."""
    if math.isinf(number):
        return 0, 0.0
    room = max(2.5 * (tolerance + ROUNDING * abs(number)), 1e-300)
    exponent = -math.ceil(math.log10(room))
    place = number * float(f"1e{exponent}")
    return exponent, round(place - math.floor(place), 9) % 1


def _index(number, tolerance, exponent, shift):
    """The index of the point that the number is near, as text."""
    scale = float(f"1e{exponent}")
    place = number * scale
    if not abs(place) < 1e15:  # infinite, NaN, or far beyond any grid's number
        return f"{number:+}" if math.isinf(number) else "none"
    index = math.floor(place - shift + 0.5)
    return str(index) if _near(number, (index + shift) / scale, tolerance) else "none"


def _text(value, tolerance, grid):
    """A value as text: the same for all that count as the one that the grid is for."""
    items = _items(value)
    if grid:
        items = [
            _index(float(item), tolerance, *point) for item, point in zip(items, grid)
        ]
    return json.dumps(items, ensure_ascii=False, separators=(",", ":"))


def _as_kind(answer):
    word, shape = answer["kind"]
    return word, tuple(shape)


def _sealed_answer(salt, tolerance, value, said):
    word, shape = _kind(value)
    if word not in ("number", "string", "bool"):
        raise ValueError(f"{_in_words(word, shape)} cannot be sealed, got {value!r}")
    items = _items(value) if word == "number" else []
    grid = [_point(float(item), tolerance) for item in items]
    text = _text(value, tolerance, grid)
    return {
        "kind": (word, shape),
        "grid": grid,
        "hash": _hash(salt, text),
        "said": masked(said, salt, text),
    }


def _sealed_letter(salt, number, right, hint):
    position = str(number)
    sealed = {"hash": _hash(salt, position, right)}
    if isinstance(hint, str):
        sealed["any"] = masked(hint, salt, position)
    else:
        sealed["hints"] = {
            _hash(salt, position, letter): masked(said, salt, position, letter)
            for letter, said in hint.items()
        }
    return sealed


def _digest(*parts):
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()


def _hash(*parts):
    return _base64(_digest("is", *parts)[:9])


def _mask(data, *key):
    """The bytes, mixed with those of an endless row. Once more undoes it."""
    row = b"".join(
        _digest("says", *key, str(block)) for block in range(len(data) // 32 + 1)
    )
    return bytes(one ^ other for one, other in zip(data, row))


def masked(text: str, *key: str) -> str:
    """A text that cannot be read without its key, as base64. `unmasked` undoes it."""
    return _base64(_mask(text.encode(), *key))


def unmasked(text: str, *key: str) -> str:
    return _mask(base64.b64decode(text), *key).decode()


def _base64(data):
    return base64.b64encode(data).decode()
