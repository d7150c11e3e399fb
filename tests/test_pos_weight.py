"""In the chapter pos_weight, thresholds are never scored on the data that tuned them.

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
MISTAKE = "optimism"  # the cell that shows it


def calls(source, name):
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name
    ]


def names(node):
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def tuned_on_other_data(source):
    """Names in the arguments of `best_thresholds` that are not kept for tuning."""
    return {
        name
        for call in calls(source, "best_thresholds")
        for argument in call.args
        for name in names(argument)
        if not name.endswith("_tune") and not name.startswith("tune_")
    }


def test_thresholds_are_tuned_on_data_kept_for_it():
    tuning = {
        cell for cell, source in CELLS.items() if calls(source, "best_thresholds")
    }
    assert tuning == {MISTAKE, "w-star", "yardstick-run"}
    assert tuned_on_other_data(CELLS["w-star"]) == set()
    assert tuned_on_other_data(CELLS["yardstick-run"]) == set()
    assert tuned_on_other_data(CELLS[MISTAKE])


def test_the_rules_of_the_chapter_tune_on_one_part_and_score_on_another():
    (tuned,), (scored,) = (calls(CELLS["run-thresholds"], n) for n in ("rule", "f1"))
    assert {"tune"} == names(tuned) & {"tune", "test"}
    assert {"test"} == names(scored) & {"tune", "test"}


def test_all_other_thresholds_are_tuned_and_scored_where_shared_rows_are_refused():
    assert {cell for cell, source in CELLS.items() if calls(source, "tuned_f")} == {
        "tail",
        "refused",
        MISTAKE,
    }
    for source in CELLS.values():
        assert "precision_recall_curve" not in source


@pytest.mark.parametrize(
    "source, found",
    [
        ("best_thresholds(p_tune[:, None], tune_set[1])", set()),
        ("best_thresholds(p_test, y_test)", {"p_test", "y_test"}),
        ("best_thresholds(p_tune, y_test)", {"y_test"}),
    ],
)
def test_the_check_itself(source, found):
    assert tuned_on_other_data(source) == found
