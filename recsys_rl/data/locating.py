"""Where a data set is: a published MovieLens set, a folder of your own, or one table of ratings.

This file needs no pandas.
"""

from __future__ import annotations

import os
from pathlib import Path

from recsys_rl.data import download
from recsys_rl.data.layouts import PARQUET, file_of
from recsys_rl.data.notes import shortened

TEXT_FILES = (".csv", ".tsv", ".txt", ".dat", ".data")


class NoSuchData(FileNotFoundError):
    """One sentence: what was asked for, and where it was looked for."""


def find_data(
    dataset: str | Path | None = None, root: str | Path = "data", fetch: bool = True
) -> tuple[str, Path]:
    """Name and place of a data set, of which nothing is read yet.

    dataset: a published name, which is downloaded into `root` where it is not there; a folder in
    one of the MovieLens layouts, or a CSV or Parquet file, in `root` (there its ending may be left
    out) or anywhere; None for ml-1m, or ml-100k where that is not to be had. fetch=False downloads
    nothing. Raises NoSuchData, or DataUnavailable for a published set.
    """
    for name, given in (("dataset", dataset), ("root", root)):
        if not isinstance(given, (str, os.PathLike)) and (name == "root" or given is not None):
            raise TypeError(f"{name} must be a name or a path, not {given!r}")
    if dataset is None or str(dataset) in download.SOURCES:
        if fetch:
            return download.open_movielens(None if dataset is None else str(dataset), root)
        dataset = download.DEFAULT if dataset is None else dataset
    path = located(dataset, root)
    if path is None:
        raise NoSuchData(
            f"there is no data set {shortened(dataset, 255)!r}: it is none of "
            f"{', '.join(download.SOURCES)}, and neither in {shortened(root, 255)} nor at that "
            "path is a folder in a MovieLens layout or a CSV or Parquet file"
        )
    resolved = path.resolve()  # "." and "a/.." have no name of their own
    given = path if path.name not in ("", "..") else resolved
    if path.is_dir() or given.stem in download.SOURCES:  # a table is none of the published sets
        return given.name, path
    return given.stem, path


def located(dataset: str | Path, root: str | Path) -> Path | None:
    """Where a folder or file of somebody's own is; None if it is nowhere."""
    endings = ("", ".csv", *PARQUET)
    places = [Path(root) / f"{dataset}{ending}" for ending in endings] if str(dataset) else []
    for path in (*places, Path(dataset)):
        if os.path.isfile(path) and path.suffix.lower() in (*TEXT_FILES, *PARQUET):
            return path
        if os.path.isdir(path) and str(dataset):
            try:
                file_of(path, 0)
            except FileNotFoundError:
                continue
            return path
    return None
