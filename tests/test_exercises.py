import base64
import itertools
import json
import math
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers.exercises import Exercise, Sealed, unmasked


class Refuses:
    """Whatever is done with it raises."""

    def __array__(self, *arguments, **options):
        raise RuntimeError("boom")


NUMBER = Exercise(
    "Exercise 1",
    right=0.25,
    hints=[(0.75, "The rest."), (25, "A percentage.")],
    tolerance=0.01,
)
LIST = Exercise(
    "Exercise 2",
    right=[1, 2, 3],
    hints=[([3, 2, 1], "Turn it around."), (6, "That is the sum.")],
)
NOT_A_NUMBER = "not yet. The answer should be a number, and this is "


def test_it_prints_one_sentence(capsys):
    for answer in (..., None, 0.25, 0.75):
        assert NUMBER(answer) is None
    assert capsys.readouterr().out.splitlines() == [
        "Exercise 1: not answered yet.",
        "Exercise 1: not answered yet.",
        "Exercise 1: right.",
        "Exercise 1: not yet. The rest.",
    ]


@pytest.mark.parametrize(
    "answer, verdict",
    [
        (0.25, "right."),
        (0.2599, "right."),
        (0.2401, "right."),
        (0.2601, "not yet."),
        (0.2399, "not yet."),
        (np.float32(0.25), "right."),
        (np.array(0.25), "right."),
        (torch.tensor(0.25), "right."),
        (Fraction(1, 4), "right."),
        (torch.tensor(0.25, requires_grad=True), "right."),
        (0.75, "not yet. The rest."),
        (25, "not yet. A percentage."),
        (torch.tensor(25), "not yet. A percentage."),
        (math.nan, "not yet."),
        (torch.tensor(math.nan), "not yet."),
        (math.inf, "not yet."),
        (
            10**400,
            "your answer raises OverflowError: int too large to convert to float",
        ),
        (True, NOT_A_NUMBER + "a bool."),
        (np.True_, NOT_A_NUMBER + "a bool."),
        (torch.tensor(True), NOT_A_NUMBER + "a bool."),
        ("0.25", NOT_A_NUMBER + "a string."),
        ([0.25], NOT_A_NUMBER + "numbers of shape (1,)."),
        ((), NOT_A_NUMBER + "numbers of shape (0,)."),
        (torch.ones(2, 3), NOT_A_NUMBER + "numbers of shape (2, 3)."),
        ({"a": 1}, NOT_A_NUMBER + "a dict."),
        (0.25 + 0j, NOT_A_NUMBER + "a complex."),
        ([[1], [1, 2]], NOT_A_NUMBER + "lists of shape (2,)."),
        ([0.25, "0.25"], NOT_A_NUMBER + "a list."),
        ([None, None], NOT_A_NUMBER + "NoneTypes of shape (2,)."),
        (Refuses(), "your answer raises RuntimeError: boom"),
        (len, NOT_A_NUMBER + "a builtin_function_or_method."),
    ],
)
def test_a_number(answer, verdict):
    assert NUMBER.verdict(answer) == verdict


@pytest.mark.parametrize(
    "answer, verdict",
    [
        ([1, 2, 3], "right."),
        ((1, 2, 3), "right."),
        (range(1, 4), "right."),
        (np.array([1.0, 2, 3]), "right."),
        (torch.tensor([1, 2, 3]), "right."),
        (torch.tensor([1.0, 2, 3], requires_grad=True), "right."),
        (
            [torch.tensor(number, requires_grad=True) for number in (1.0, 2.0, 3.0)],
            "right.",
        ),
        ((3, 2, 1), "not yet. Turn it around."),
        (6, "not yet. That is the sum."),
        ([1, 3, 2], "not yet."),
        ([1, 2, math.nan], "not yet."),
        (
            (1, 2),
            "not yet. The answer should be numbers of shape (3,), and this is "
            "numbers of shape (2,).",
        ),
        (
            [[1, 2, 3]],
            "not yet. The answer should be numbers of shape (3,), and this is "
            "numbers of shape (1, 3).",
        ),
        (
            2,
            "not yet. The answer should be numbers of shape (3,), and this is a "
            "number.",
        ),
        (
            ["1", "2", "3"],
            "not yet. The answer should be numbers of shape (3,), and this is "
            "strings of shape (3,).",
        ),
        ([True, False, True], "not yet."),
        (
            [1, 2, 3j],
            "not yet. The answer should be numbers of shape (3,), and this is a list.",
        ),
        ([1, 2, 3.0], "right."),
        (np.array([1, 2, 3], np.float16), "right."),
        (torch.tensor([1, 2, 3], dtype=torch.bfloat16), "right."),
    ],
)
def test_a_list(answer, verdict):
    assert LIST.verdict(answer) == verdict


@pytest.mark.parametrize(
    "right",
    [np.array([1, 2, 3]), torch.tensor([1.0, 2, 3], requires_grad=True), (1, 2, 3)],
    ids=["array", "tensor", "tuple"],
)
def test_the_right_answer_may_be_of_any_kind_too(right):
    exercise = Exercise("Exercise", right=right, hints=[(right * 2, "Half of it.")])
    assert exercise.verdict([1, 2, 3]) == "right."
    assert exercise.verdict(right * 2) == "not yet. Half of it."


def test_a_string():
    exercise = Exercise("Exercise", right="LCP", hints=[("LLP", "Look at the second.")])
    assert [exercise.verdict(answer) for answer in ("LCP", "LLP", "lcp")] == [
        "right.",
        "not yet. Look at the second.",
        "not yet.",
    ]
    assert (
        exercise.verdict(3)
        == "not yet. The answer should be a string, and this is a number."
    )


def test_true_or_false():
    exercise = Exercise("Exercise", right=True, hints=[(False, "No.")])
    for right, wrong in [
        (True, False),
        (np.True_, np.False_),
        (torch.tensor(True), torch.tensor(False)),
    ]:
        assert (
            exercise.verdict(right) == "right."
            and exercise.verdict(wrong) == "not yet. No."
        )
    assert (
        exercise.verdict(1)
        == "not yet. The answer should be a bool, and this is a number."
    )


def test_strings_and_bools_in_a_list():
    exercise = Exercise("Exercise", right=["cat", "dog"], hints=[(("dog", "cat"), "?")])
    assert exercise.verdict(np.array(["cat", "dog"])) == "right."
    assert exercise.verdict(["dog", "cat"]) == "not yet. ?"
    exercise = Exercise("Exercise", right=torch.tensor([[True], [False]]))
    assert exercise.verdict([[True], [False]]) == "right."
    assert exercise.verdict([[False], [False]]) == "not yet."
    assert exercise.verdict([[1], [0]]) == "right."
    assert exercise.verdict([[1], [2]]) == "not yet."
    assert exercise.verdict([1, False]).startswith("not yet. The answer should be numb")


@pytest.mark.parametrize(
    "right, close, off",
    [
        (1.0, 1 + 9e-10, 1 + 2e-9),  # the tolerance of 1e-9
        (-1.0, -1 - 9e-10, -1 - 2e-9),
        (0.0, 9e-10, 2e-9),
        (1e12, 1e12 + 0.9, 1e12 + 1.2),  # 1e-12 of the right number
        (-1e12, -1e12 - 0.9, -1e12 - 1.2),
        (10**12, 10**12, 10**12 + 2),
        (math.inf, math.inf, 1e308),
        ([1e12, 0.0], [1e12 + 0.9, 9e-10], [1e12, 0.9]),
    ],
)
def test_tolerance(right, close, off):
    exercise = Exercise("Exercise", right=right)
    assert exercise.verdict(close) == exercise.verdict(right) == "right."
    assert exercise.verdict(off) == "not yet."


def test_no_tolerance():
    exercise = Exercise("Exercise", right=3, tolerance=0)
    assert exercise.verdict(3) == "right." and exercise.verdict(3 + 1e-9) == "not yet."


@pytest.mark.parametrize("tolerance", [-1e-9, math.nan, math.inf, "0.1", None, 1j])
def test_bad_tolerances(tolerance):
    with pytest.raises(ValueError) as error:
        Exercise("Exercise", right=1, tolerance=tolerance)
    assert (
        str(error.value)
        == f"tolerance must be a finite number of at least 0, got {tolerance!r}"
    )


@pytest.mark.parametrize(
    "right, message",
    [
        (None, "hold numbers, strings or bools, got a NoneType"),
        (..., "hold numbers, strings or bools, got a ellipsis"),
        (1j, "hold numbers, strings or bools, got a complex"),
        ({1: 2}, "hold numbers, strings or bools, got a dict"),
        ([1, "2"], "hold numbers, strings or bools, got a list"),
        ([[1], [1, 2]], "hold numbers, strings or bools, got lists of shape (2,)"),
        (math.nan, "not hold NaN, got nan"),
        ([1, math.nan], "not hold NaN, got [1, nan]"),
    ],
)
def test_bad_right_answers(right, message):
    with pytest.raises(ValueError) as error:
        Exercise("Exercise", right=right)
    assert str(error.value) == f"right must {message}"


@pytest.mark.parametrize(
    "hints, message",
    [
        ([(1.0, "No.")], "1.0 must get its hint, 'No.', and gets 'right.'"),
        (
            [(2, "No."), (2, "Never.")],
            "2 must get its hint, 'Never.', and gets 'not yet. No.'",
        ),
        (
            [(None, "No.")],
            "None must get its hint, 'No.', and gets 'not answered yet.'",
        ),
        (
            [(math.nan, "No.")],
            "nan must get its hint, 'No.', and gets 'not yet.'",
        ),
    ],
    ids=["right", "twice", "none", "nan"],
)
def test_bad_hints(hints, message):
    with pytest.raises(ValueError) as error:
        Exercise("Exercise 7", right=1, hints=hints)
    assert str(error.value) == f"Exercise 7: the wrong answer {message}"


def test_a_hint_that_raises_never_reaches_the_reader():
    with pytest.raises(ValueError) as error:
        Exercise("Exercise", right=1, of=lambda f: f(0), hints=[(5, "No function.")])
    assert str(error.value) == (
        "Exercise: the wrong answer 5 must get its hint, 'No function.', and gets "
        "\"your answer raises TypeError: 'int' object is not callable\""
    )
    working = [lambda x: 2]
    exercise = Exercise(
        "Exercise",
        right=1,
        of=lambda f: f(0),
        hints=[(lambda x: working[0](x), "Two.")],
    )
    assert exercise.verdict(lambda x: 2) == "not yet. Two."
    working.clear()  # what the hint needs is gone
    assert exercise.verdict(lambda x: 1) == "right."
    assert exercise.verdict(lambda x: 2).startswith("your answer raises IndexError: ")


def test_a_function():
    def raises(x):
        raise RuntimeError("boom")

    exercise = Exercise(
        "Exercise",
        right=9,
        of=lambda square: square(3),
        hints=[(lambda x: x + x, "That is twice."), (abs, "That is nothing.")],
    )
    assert exercise.verdict(lambda x: x * x) == "right."
    assert exercise.verdict(lambda x: 2 * x) == "not yet. That is twice."
    assert exercise.verdict(lambda x: x) == "not yet. That is nothing."
    assert (
        exercise.verdict(lambda x: x * torch.ones((), requires_grad=True) * x)
        == "right."
    )
    assert exercise.verdict(lambda x: None) == NOT_A_NUMBER + "a NoneType."
    assert exercise.verdict(raises) == "your answer raises RuntimeError: boom"
    assert exercise.verdict(lambda: 9).startswith("your answer raises TypeError: ")
    assert (
        exercise.verdict(9)
        == "your answer raises TypeError: 'int' object is not callable"
    )
    assert exercise.verdict(...) == exercise.verdict(None) == "not answered yet."


SETUPS = Exercise(
    "Your turn 1",
    right="LCP",
    each=["One: several.", "Two: one.", {"L": "Three: an or.", "C": "Three: a set."}],
    hints=[("CLT", "Turn it around.")],
)


@pytest.mark.parametrize(
    "answer, said",
    [
        ("LCP", "right."),
        (" l, c; p\n", "right."),
        ("CCP", "not yet. One: several."),
        ("LCL", "not yet. Three: an or."),
        ("xll", "not yet. One: several. Two: one. Three: an or."),
        ("LCT", "not yet. Look at answer 3 again."),
        ("CLT", "not yet. Turn it around."),
        ("LC", "not yet. The answer should have 3 letters, and this has 2."),
        ("", "not yet. The answer should have 3 letters, and this has 0."),
        (3, "not yet. The answer should be a string, and this is a number."),
        (..., "not answered yet."),
        (None, "not answered yet."),
    ],
)
def test_letters(answer, said):
    assert SETUPS.verdict(answer) == said


def test_any_combination_of_slips_gets_a_hint_for_each():
    for letters in map("".join, itertools.product("LCPT", repeat=3)):
        said = SETUPS.verdict(letters)
        if letters not in ("LCP", "CLT"):
            for letter, right, name in zip(letters, "LCP", ("One", "Two", "3|Three")):
                assert bool(re.search(name, said)) == (letter != right), letters


def test_a_hint_for_two_letters_is_given_once():
    twice = Exercise("Your turn 1", right="AB", each=["Read it again."] * 2)
    assert twice.verdict("BA") == "not yet. Read it again."


@pytest.mark.parametrize(
    "right, each, message",
    [
        ("AB", ["One."], "each must have one hint for each letter of 'AB', got 1"),
        (4, ["One."], "each must have one hint for each letter of 4, got 1"),
        ("ab", ["One.", "Two."], "right must be capital letters, got 'ab'"),
        ("A B", ["1", "2", "3"], "right must be capital letters, got 'A B'"),
        ("AB", ["One.", {"B": "?"}], "each has a hint for the right letter 'B'"),
    ],
)
def test_bad_letters(right, each, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Exercise("Your turn 1", right=right, each=each)


# Sealed: the same verdicts, without the answers


@pytest.mark.parametrize("module", ["numpy", "torch"])
def test_it_needs_the_standard_library_alone(module):
    code = f"""
import sys
sys.modules[{module!r}] = None
from helpers.exercises import Exercise, Sealed
exercise = Exercise("Exercise", right=[0.5, 1], hints=[([1, 0.5], "Turn it around.")])
for check in (exercise, Sealed("Exercise", exercise.sealed())):
    check((0.5, 1)), check([1, 1 / 2]), check(3)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = [
        "Exercise: right.",
        "Exercise: not yet. Turn it around.",
        "Exercise: not yet. The answer should be numbers of shape (2,), and this is a "
        "number.",
    ]
    assert ended.stdout.splitlines() == 2 * said, ended.stderr


def sealed(exercise, **options):
    return Sealed(exercise.name, exercise.sealed(**options), of=exercise.of)


ODD = [
    *(..., None, True, False, 0, 1, -1, 25, 0.5, math.nan, math.inf, -math.inf),
    *("", "LCP", "l c p", "é", "\ud800", b"LCP", (), [], [[]], [[], []], [[1], [1, 2]]),
    *([1, "2"], [[1, 2], 3], ["cat", "dog"], ["cat,dog"], [True, False], range(1, 4)),
    *({"a": 1}, {1, 2}, 1j, Fraction(1, 3), 10**400, [10**400], Refuses(), len),
    *(np.float32(0.25), np.array([1, 2, 3]), np.array([["a"]]), torch.tensor([1.0])),
]


@pytest.mark.parametrize("answer", ODD, ids=lambda answer: repr(answer)[:30])
@pytest.mark.parametrize(
    "exercise",
    [
        NUMBER,
        LIST,
        SETUPS,
        Exercise("Exercise", right=True, hints=[(False, "No."), ("no", "A bool.")]),
        Exercise("Exercise", right="LCP", hints=[("", "Nothing."), ([], "A list.")]),
        Exercise("Exercise", right=["cat", "dog"], hints=[(["cat,dog"], "One.")]),
        Exercise("Exercise", right=[[True], [False]], hints=[([[0], [0]], "None.")]),
        Exercise("Exercise", right=math.inf, hints=[(-math.inf, "Down.")]),
        Exercise("Exercise", right=[]),
        Exercise("Exercise", right=9, of=lambda f: f(3), hints=[(abs, "Nothing.")]),
    ],
)
def test_sealed_says_the_same_of_odd_answers(exercise, answer):
    assert sealed(exercise).verdict(answer) == exercise.verdict(answer)


NUMBERS = st.one_of(
    st.integers(-20, 20),
    st.fractions(-2, 2, max_denominator=12),
    st.floats(-1e3, 1e3).filter(lambda number: number == 0 or abs(number) > 1e-200),
    st.integers(-(10**13), 10**13),
    st.floats(1e3, 1e13),
)
TOLERANCES = [0, 1e-9, 1e-4, 0.01, 0.02, 0.05, 0.4, 0.5, 3]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_sealed_says_the_same_of_numbers(data):
    right = data.draw(st.one_of(NUMBERS, st.lists(NUMBERS, min_size=1, max_size=4)))
    tolerance = data.draw(st.sampled_from(TOLERANCES))

    def near(value):
        """The value, each number moved by at most three times what is allowed."""
        if isinstance(value, list):
            return [near(item) for item in value]
        moved = data.draw(st.one_of(st.just(0), st.floats(-3, 3)))
        # At the very edge the two may differ.
        assume(tolerance or abs(abs(moved) - 1) > 1e-2)
        assume(abs(abs(moved) - 1) > 1e-5)
        room = tolerance + 1e-12 * abs(float(value))
        assume(abs(abs(moved) - 1) * room > 20 * math.ulp(float(value)) or not moved)
        return float(value) + moved * room

    wrong = data.draw(st.one_of(NUMBERS, st.lists(NUMBERS, min_size=1, max_size=4)))
    try:
        exercise = Exercise(
            "Exercise", right=right, hints=[(wrong, "Look.")], tolerance=tolerance
        )
    except ValueError:
        assume(False)  # the wrong answer is right
    check = sealed(exercise)
    for answer in (right, wrong, near(right), near(wrong)):
        # What is near the one may lie at the very edge of the other.
        assume(not any(at_the_edge(answer, of, tolerance) for of in (right, wrong)))
        assert check.verdict(answer) == exercise.verdict(answer)


def at_the_edge(answer, of, tolerance):
    if np.shape(answer) != np.shape(of):
        return False
    pairs = zip(np.ravel(answer), np.ravel(of))
    distances = [abs(float(one) - float(other)) for one, other in pairs]
    return any(abs(far - tolerance) <= 1e-5 * tolerance for far in distances)


def test_the_edge_of_the_tolerance_is_inside():
    for tolerance, right in itertools.product(
        [0.01, 0.02, 0.05, 0.5], [0.25, 1 / 3, 7]
    ):
        check = sealed(Exercise("Exercise", right=right, tolerance=tolerance))
        for side in (-1, 1):
            assert check.verdict(right + side * tolerance) == "right."
            assert check.verdict(right + side * tolerance * 1.001) == "not yet."


@settings(max_examples=200, deadline=None)
@given(
    st.text("ABCDE", min_size=1, max_size=5),
    st.lists(st.text("ABCDEx ,é", max_size=6), min_size=20, max_size=20),
    st.data(),
)
def test_sealed_says_the_same_of_letters(right, answers, data):
    hint = st.one_of(
        st.text(), st.dictionaries(st.sampled_from("ABCDEX"), st.text(), max_size=4)
    )
    each = data.draw(st.lists(hint, min_size=len(right), max_size=len(right)))
    for letter, hints in zip(right, each):
        if isinstance(hints, dict):
            hints.pop(letter, None)
    exercise = Exercise("Exercise", right=right, each=each)
    check = sealed(exercise)
    for answer in [right, right.lower(), *answers]:
        assert check.verdict(answer) == exercise.verdict(answer)


def test_a_reason_is_told_after_right():
    check = sealed(NUMBER, reason="A quarter, é.")
    assert check.verdict(1 / 4) == "right. A quarter, é."
    assert check.verdict(0.75) == "not yet. The rest."


def test_nothing_can_be_read_off_a_seal():
    seal = json.loads(unmasked(SETUPS.sealed("loss", "A good reason."), "seal"))
    text = json.dumps(seal)
    for word in ("LCP", "CLT", "One", "Three", "Turn it", "good"):
        assert word not in text
        assert base64.b64encode(word.encode()).decode()[:4] not in text
    # Of whole numbers nothing is left, and of others what the grid does not tell.
    for right in (1, 0.75, [0, 1, 12]):
        exercise = Exercise("Exercise", right=right, tolerance=1e-4)
        [answer] = json.loads(unmasked(exercise.sealed(), "seal"))["answers"]
        assert {shift for _, shift in answer["grid"]} == {0}


def test_a_seal_is_the_same_each_time_and_another_elsewhere():
    assert SETUPS.sealed("loss") == SETUPS.sealed("loss") != SETUPS.sealed("setups")
    first, second = (
        json.loads(unmasked(Exercise(name, right=3).sealed(), "seal"))["answers"][0]
        for name in ("Your turn 1", "Your turn 2")
    )
    assert first["hash"] != second["hash"]


def test_what_cannot_be_sealed():
    exercise = Exercise("Exercise", right=3, hints=[({"a": 1}, "A number.")])
    with pytest.raises(ValueError, match=r"^a dict cannot be sealed, got \{'a': 1\}$"):
        exercise.sealed()


def test_sealed_prints_one_sentence(capsys):
    seal = NUMBER.sealed()
    check = Sealed("Exercise 1", f"\n{seal[:50]}\n{seal[50:]}\n")
    assert check(...) is None and check(0.75) is None
    assert capsys.readouterr().out.splitlines() == [
        "Exercise 1: not answered yet.",
        "Exercise 1: not yet. The rest.",
    ]
