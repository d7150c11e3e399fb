"""In the chapter on weights, thresholds are never scored on the data that tuned them.

Except where it shows that mistake.
"""

import ast
from pathlib import Path

import nbformat
import pytest

CELLS = {
    cell.id: cell.source
    for cell in nbformat.read(
        Path(__file__).parent.parent / "book/pos_weight.ipynb", as_version=4
    ).cells
    if cell.cell_type == "code"
}
# The cell that shows the mistake, and an exercise on five numbers.
ALLOWED = {"optimism", "solution-4"}


def calls(source, name):
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name
    ]


def names(node):
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def tuned_on_test_data(source):
    """The names of data not kept for tuning that a cell tunes its thresholds on."""
    return {
        name
        for call in calls(source, "best_thresholds")
        for argument in call.args
        for name in names(argument)
        if not name.endswith("_tune")
    }


def test_thresholds_are_tuned_on_data_kept_for_it():
    tuning = {
        cell for cell, source in CELLS.items() if calls(source, "best_thresholds")
    }
    assert ALLOWED < tuning
    assert {cell: tuned_on_test_data(CELLS[cell]) for cell in tuning - ALLOWED} == {
        cell: set() for cell in tuning - ALLOWED
    }


def test_all_other_thresholds_are_tuned_and_scored_where_shared_rows_are_refused():
    assert {cell for cell, source in CELLS.items() if calls(source, "tuned_f")} == {
        "zoo-run",
        "optimism",
    }
    for source in CELLS.values():
        assert "precision_recall_curve" not in source


def test_f1_is_not_measured_on_the_data_that_tuned_a_threshold():
    """In the sweep thresholds and scores have draws of their own: F1 sees `y_test`."""
    scored = {
        name
        for call in calls(CELLS["sweep"], "f1")
        + calls(CELLS["sweep"], "balanced_accuracy")
        for name in names(call.args[1])
    }
    assert scored == {"y_test"}


@pytest.mark.parametrize(
    "source, found",
    [
        ("best_thresholds(p_tune.T, y_tune.T)", set()),
        ("best_thresholds(p_test, y_test)", {"p_test", "y_test"}),
        ("best_thresholds(p_tune, y_test)", {"y_test"}),
    ],
)
def test_the_check_itself(source, found):
    assert tuned_on_test_data(source) == found
