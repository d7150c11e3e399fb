import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from helpers.claims import ClaimFailed, claim, claim_text


@pytest.fixture(autouse=True)
def shell():
    """What a notebook's kernel offers: somewhere to display."""
    return InteractiveShell.instance()


def shown(function, *arguments):
    with capture_output() as captured:
        function(*arguments)
    assert captured.stdout == captured.stderr == ""
    [output] = captured.outputs
    return output.data, output.metadata


@pytest.mark.parametrize(
    "holds", [True, np.True_, np.array(True), torch.tensor(2.0) > 1]
)
def test_a_claim_that_holds(holds):
    data, metadata = shown(claim, "Two is more than one", holds, "2 and 1")
    assert data == dict.fromkeys(
        ["text/markdown", "text/plain"], "**Two is more than one.**\n\n2 and 1."
    )
    assert metadata == {
        "claim": {"statement": "Two is more than one", "evidence": "2 and 1"}
    }


@pytest.mark.parametrize(
    "holds", [False, np.False_, np.array(False), torch.tensor(2.0) < 1]
)
def test_a_claim_that_does_not_hold(holds):
    with capture_output() as captured, pytest.raises(ClaimFailed) as failed:
        claim("One is more than two", holds, "1 and 2")
    assert str(failed.value) == "One is more than two. This does not hold: 1 and 2"
    assert captured.outputs == []


def test_a_failed_claim_stops_a_run_even_where_assert_is_switched_off():
    assert issubclass(
        ClaimFailed, AssertionError
    )  # pytest and readers know what that means
    with pytest.raises(ClaimFailed):
        exec(
            compile(
                "claim('One is two', False, '1 and 2')", "cell", "exec", optimize=2
            ),
            {"claim": claim},
        )


@pytest.mark.parametrize(
    "holds",
    [
        None,
        1,
        0,
        1.0,
        np.nan,
        "True",
        ...,
        [True],
        [],
        np.ma.masked,
        pd.NA,
        np.array([True]),
        np.array([True, False]),
        np.int64(1),
        torch.tensor([True]),
        torch.tensor(1),
        torch.ones(2, 2) > 0,
    ],
    ids=lambda value: type(value).__name__,
)
def test_not_one_truth_value(holds):
    with (
        capture_output() as captured,
        pytest.raises(ValueError, match="^holds must be one truth value, got "),
    ):
        claim("A sentence", holds, "a number")
    assert captured.outputs == []


@pytest.mark.parametrize("name", ["statement", "evidence"])
@pytest.mark.parametrize(
    "text",
    ["", "  ", "\n", "two\nlines", "a\rb", "end\n", "a\u2028b", None, 0.5, ["text"]],
)
def test_not_a_line_of_text(name, text):
    arguments = {"statement": "A sentence", "holds": True, "evidence": "a number"} | {
        name: text
    }
    with pytest.raises(ValueError, match=f"^{name} must be "):
        claim(**arguments)


def test_the_text_of_a_claim():
    data, metadata = shown(claim, "A", True, "b")
    assert claim_text(**metadata["claim"]) == data["text/markdown"]
