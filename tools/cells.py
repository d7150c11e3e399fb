"""What a cell of a chapter is. Notebooks and cells are nodes of nbformat."""


def code(notebook):
    """The code cells."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def draws(cell):
    """Whether its output has a figure."""
    return any(
        "image/png" in output.get("data", {}) for output in cell.get("outputs", [])
    )


def caption_of(notebook, cell):
    """The caption of a figure's cell: it is the text of the cell below. Or ""."""
    after = notebook.cells[notebook.cells.index(cell) + 1 :][:1]
    if not after or "caption" not in tags(after[0]):
        return ""
    return after[0].source.removeprefix("**Figure.** ")


def is_exercise(cell):
    """Whether it is the text of an exercise."""
    return cell.source.startswith("**Your turn ")
