"""Command lines of this project."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Raises ValueError with one sentence in place of leaving with the usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (--help shows what can be asked)")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        for text in given:
            option, _, value = text.partition("=")
            if value == "--" and option.startswith("--"):  # argparse would take it for no value
                self.error(f"argument {option}: expected a value, not '--'")
        return super().parse_known_args(given, namespace)
