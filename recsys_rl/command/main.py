"""The command from what was typed to the exit code.

Exit codes: 0 answered; 2 something was wrong with the input, the data or the model, as a sentence
on stderr says; 130 interrupted; 141 whoever read the output went away.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from recsys_rl.command.arguments import parse
from recsys_rl.command.errors import CommandError, first_line
from recsys_rl.data.notes import say


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code. What takes time to import is imported on the way, so that --help and
    a misspelt flag answer at once, and Ctrl-C is as quiet then as later."""
    # the products of matrices are too small here for threads, which cost more than they bring
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        _answer(argv)
        return 0
    except CommandError as error:
        for sentence in error.sentences:
            say(f"recommendation.py: {sentence}")
        return 2
    except KeyboardInterrupt:
        return 130
    except MemoryError:
        say("recommendation.py: too little memory: an answer takes some 100 MB, give it more")
        return 2
    except OSError as error:  # from writing the answer: all others are CommandErrors by now
        # what is still in the buffer would fail once more when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        say(f"recommendation.py: the answer cannot be written: {error}")
        return 2


def _answer(argv: Sequence[str] | None) -> None:
    if sys.stdout is None:
        raise CommandError("there is no standard output to answer on: open it, or give a file")
    try:
        arguments = parse(argv)
        from recsys_rl.command import answering

        answering.answer(arguments)
    except ImportError as error:
        raise CommandError(
            f"{first_line(error)}: install what is needed with pip install -r requirements.txt"
        ) from error
    finally:  # here, and not when Python ends, where nothing can be caught any more
        print(end="", flush=True)
