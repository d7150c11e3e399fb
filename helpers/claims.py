"""Claims: sentences that a cell measures, and that stop the run when they are not true.

Every chapter uses them; the chapter "Why per-logit accuracy is inflated" is a good place to see them at work.
"""

import numpy as np
from IPython.display import publish_display_data

_made = {}  # statement -> evidence of this kernel's claims; a cell that runs twice still makes one claim


class ClaimFailed(AssertionError):
    """A claim whose condition is false. The message carries the statement and its evidence."""


def claim(statement, holds, evidence):
    """Show `statement` with its evidence, or raise where it does not hold.

    statement: one sentence of plain text or inline Markdown, without a full stop at its end.
    holds: the condition that was measured, a bool (or a NumPy or PyTorch scalar one).
    evidence: the numbers behind it, one line of text or inline Markdown, without a full stop either.

    Raises ClaimFailed, evidence included, where `holds` is false;
    ValueError for a text that is empty or longer than a line, and for a `holds` that is not one truth value.
    """
    for name, text in (("statement", statement), ("evidence", evidence)):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{name} must be a non-empty string, got {text!r}")
        if "\n" in text:
            raise ValueError(f"{name} must be one line, got {text!r}")
    truth = np.asarray(holds)
    if truth.dtype != bool or truth.shape != ():
        raise ValueError(f"holds must be one truth value, got {holds!r}")
    if not truth:
        raise ClaimFailed(f"{statement}. This does not hold: {evidence}")
    _made[statement] = evidence
    _publish(
        f"**{statement}.** Measured: {evidence}.",
        {"claim": {"statement": statement, "evidence": evidence}},
    )


def claims_table():
    """Show every claim made so far in this notebook, with its evidence, as one Markdown table."""
    rows = [
        f"| {number} | {_cell(statement)} | {_cell(evidence)} |"
        for number, (statement, evidence) in enumerate(_made.items(), 1)
    ]
    _publish("\n".join(["| | claim | measured |", "| --- | --- | --- |", *rows]), {})


def _cell(text):
    return text.replace("|", "\\|")


def _publish(markdown, metadata):
    publish_display_data({"text/markdown": markdown, "text/plain": markdown}, metadata)
