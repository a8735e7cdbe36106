"""What went wrong, in sentences for stderr."""

from __future__ import annotations


class CommandError(Exception):
    """Sentences for the person at the keyboard: what was wrong and what to do."""

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


class NothingLeft(CommandError):
    """Fewer films than asked for are left to suggest, only so many."""

    def __init__(self, sentence: str, left: int) -> None:
        super().__init__(sentence)
        self.left = left


def first_line(error: Exception | str) -> str:
    """For errors that were not written to be one sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
