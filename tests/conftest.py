"""What several test files share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic import write_movielens


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the command keeps goes into no home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


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
