"""Pictures, written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from recsys_rl.data.atomic_files import write_atomically


def write_picture(figure: Figure, path: Path, **options: Any) -> None:
    """A PNG; options: of `Figure.savefig`."""
    content = io.BytesIO()
    figure.savefig(content, format="png", **options)
    write_atomically(path, content.getvalue())
