import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from helpers.exercises import Exercise

NUMBER = Exercise(
    "Exercise 1",
    right=0.25,
    hints=[(0.75, "The rest."), (25, "A percentage."), (0.75, "Too late.")],
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
        (10**400, "not yet. The answer should be a number, and this is a int."),
        (True, NOT_A_NUMBER + "True or False."),
        (np.True_, NOT_A_NUMBER + "True or False."),
        (torch.tensor(True), NOT_A_NUMBER + "True or False."),
        ("0.25", NOT_A_NUMBER + "a string."),
        ([0.25], NOT_A_NUMBER + "numbers of shape (1,)."),
        ((), NOT_A_NUMBER + "numbers of shape (0,)."),
        (torch.ones(2, 3), NOT_A_NUMBER + "numbers of shape (2, 3)."),
        ({"a": 1}, NOT_A_NUMBER + "a dict."),
        (0.25 + 0j, NOT_A_NUMBER + "a complex."),
        ([[1], [1, 2]], NOT_A_NUMBER + "a list."),
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
            "not yet. The answer should be numbers of shape (3,), and this is numbers of shape (2,).",
        ),
        (
            [[1, 2, 3]],
            "not yet. The answer should be numbers of shape (3,), and this is numbers of shape (1, 3).",
        ),
        (
            2,
            "not yet. The answer should be numbers of shape (3,), and this is a number.",
        ),
        (
            ["one", "two", "three"],
            "not yet. The answer should be numbers of shape (3,), and this is a list.",
        ),
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
        == "not yet. The answer should be True or False, and this is a number."
    )


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
