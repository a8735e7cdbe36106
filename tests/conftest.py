"""What several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import write_movielens


@pytest.fixture(scope="session")
def tiny_movielens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Layout ("ml-1m", "ml-100k", "csv") -> a folder with the same 60 x 80 synthetic data set.

    The folders are not named after a MovieLens set, so that no published count is expected.
    """
    root = tmp_path_factory.mktemp("tiny")
    return {
        layout: write_movielens(root / f"tiny-{layout}", layout)
        for layout in ("ml-1m", "ml-100k", "csv")
    }
