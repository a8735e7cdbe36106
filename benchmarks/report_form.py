"""What a section of docs/results.md looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from recsys_rl.experiments import NAMES


@dataclass(frozen=True)
class Section:
    """A heading, what was measured, the commands that made it, a note and the table."""

    heading: str
    measured: str
    commands: Sequence[str]
    note: str
    table: pd.DataFrame

    def markdown(self) -> str:
        commands = ", ".join(f"`python {command}`" for command in self.commands)
        parts = [f"## {self.heading}", f"{self.measured} Made by {commands}."]
        return "\n\n".join([*parts, *([self.note] if self.note else []), markdown(self.table)])


def markdown(table: pd.DataFrame) -> str:
    """A table of text as Markdown, its index as the first column."""
    lines = ["| | " + " | ".join(table.columns) + " |", "|---" * (table.shape[1] + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(row) + " |"
        for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    return "\n".join(lines)


def tuning(dataset: str, *tasks: str) -> str:
    return f"-m benchmarks.tune_baselines --dataset {dataset} --tasks {' '.join(tasks)}"


def study(dataset: str, split: str, *names: str) -> str:
    """For the agents that can still be trained; others are gone (see the head of the page)."""
    known = " ".join(name for name in names if name in NAMES)
    return f"-m benchmarks.study --dataset {dataset} --splits {split} --agents {known}"
