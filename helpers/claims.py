"""Claims: sentences that a cell measures, and that stop the run when they are not true.

Every chapter uses them; the chapter "Why multi-label accuracy is 99 %" is a good
place to see them at work.
"""

from IPython.display import publish_display_data


class ClaimFailed(AssertionError):
    """A claim whose condition is false. Its message: statement and evidence."""


def claim(statement: str, holds: bool, evidence: str) -> None:
    """Show `statement` with its evidence, or raise where it does not hold.

    statement: one sentence of plain text or inline Markdown, without a full stop at its
    end.
    holds: the condition that was measured, a bool (or a NumPy or PyTorch scalar one).
    evidence: the numbers behind it, one line of text or inline Markdown, without a full
    stop either.

    Raises ClaimFailed, evidence included, where `holds` is false; ValueError for a text
    that is empty or longer than a line, and for a `holds` that is not one truth value.
    """
    for name, text in (("statement", statement), ("evidence", evidence)):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{name} must be a non-empty string, got {text!r}")
        if text.splitlines() != [text]:
            raise ValueError(f"{name} must be one line, got {text!r}")
    truth = holds.tolist() if hasattr(holds, "tolist") else holds
    if not isinstance(truth, bool):
        raise ValueError(f"holds must be one truth value, got {holds!r}")
    if not truth:
        raise ClaimFailed(f"{statement}. This does not hold: {evidence}")
    text = claim_text(statement, evidence)
    publish_display_data(
        {"text/markdown": text, "text/plain": text},
        {"claim": {"statement": statement, "evidence": evidence}},
    )


def claim_text(statement: str, evidence: str) -> str:
    """The Markdown that `claim` shows; its output's metadata holds the two parts."""
    return f"**{statement}.**\n\n{evidence}."
