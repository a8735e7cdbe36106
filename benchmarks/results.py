"""The table of all results, and the settings that validation data chose for the baselines.

`results/results.csv.xz` is one tidy table, one number a row:

    dataset   ml-1m, ml-100k, sardine
    split     leave-one-out, after-a-pause, random-positives, ratings, temporal; cold-start (users
              held out whole), cold-start-eighth-1 to -8 (every user held out once);
              simulated, simulated-series; simulated-satisfaction-0.5, simulated-satiation-1, ...
              (form and dial of a consequence; satisfaction-0 is the plain world of both);
              cross-dataset (trained on ml-1m, cold-start sessions with the users of
              ml-latest-small); user-leaves, and user-leaves-model (trained in the world of a rating
              model); elicitation (the users of cold-start), elicitation-5 and -10 (calibration
              after so many questions); sardine
    agent     DRR-set, DRR-set-gamma-0, ...: as in `recsys_rl.experiments`; EASE, popularity, ...:
              as in `recsys_rl.baselines.registry`; oracle: the best that a protocol allows
    seed      of the training; 0 for the baselines, which have one fit
    stage     final; pretrained; "pretrained, gate reset"; untrained; "no history"; "history
              shuffled"; "one user's action for all"; published, reproduced (figures of the
              literature and ours in their setting); calibration
    protocol  leave-one-out (hr@10, ndcg@10 among all unseen items, sampled_hr@10 and
              sampled_ndcg@10 among 99 negatives), and "leave-one-out, times of past ratings",
              "leave-one-out, time of the request" for agents that read the clock, whose
              leave-one-out is without it; "leave-one-out, by gap", "..., ties shuffled" and others
              of `next_item.py`; after-a-pause, with the same endings; random-positives, re-ranking,
              seed-and-suggest,
              cold-start-sessions, temporal, simulated-A, simulated-B; training (seconds, threads,
              and of SB3's agents turns, and whether actions are sampled: 1);
              "calibration, test users", ... (Q and returns at three steps); user-leaves, and
              "user-leaves, another's ratings" (return, length); "elicitation, 5 questions", "...,
              3 named", "..., ranked by DRR-set" (precision@10, ndcg@10; liked and seen, shares of
              the questions); sardine (return: clicks, length)
    metric    hr@10, reward@40, distinct, popularity_percentile, training_cpu_seconds, ...; with
              validation_ in front it was measured on validation data
    user      empty: `value` is the mean over users. An integer: the value of this one of the
              evaluated users, counted from 0 by ascending user index
    value     rounded to five decimals

Which values are kept by user: `study.kept_by_user`. `record` adds runs, `select`, `means` and
`by_user` read; `ready` is for what takes long before it records.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_rl.data.atomic_files import writable, write_atomically
from recsys_rl.evaluation import metrics
from recsys_rl.evaluation.statistics import Evaluation

try:
    import fcntl
except ImportError:  # Windows: two studies at the same time may not record there
    fcntl = None

PATH = Path(__file__).parent / "results" / "results.csv.xz"
TUNED = Path(__file__).parent / "tuned.json"
KEY = ["dataset", "split", "agent", "seed", "stage", "protocol"]  # together: one evaluation
AGENT = [column for column in KEY if column != "seed"]  # the same evaluation over seeds
COLUMNS = [*KEY, "metric", "user", "value"]
TEXT = [column for column in COLUMNS if column not in ("seed", "user", "value")]
DECIMALS = 5


def baseline_name(name: str, settings: Mapping) -> str:
    """A baseline's name in the table; LinUCB without exploration is a ridge regression."""
    if name in ("LinUCB", "HLinUCB") and settings.get("alpha") == 0:
        return f"ridge regression ({name}, alpha = 0)"
    return name


# ------------------------------------------------------------------------------------------- read


def load() -> pd.DataFrame:
    """The whole table, columns `COLUMNS`; read once. Do not change it: it is shared."""
    if not PATH.exists():
        return _tidy(pd.DataFrame(columns=COLUMNS))
    return _read(PATH, PATH.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read(path: Path, _written: int) -> pd.DataFrame:
    types = dict.fromkeys(TEXT, "category") | {"seed": "int64", "user": "float64"}
    try:
        return pd.read_csv(path, dtype=types)[COLUMNS]
    except (lzma.LZMAError, EOFError, ValueError, KeyError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(f"{path} cannot be read ({reason}): get it again, as it was committed")


def select(table: pd.DataFrame | None = None, **wanted) -> pd.DataFrame:
    """The rows in which each named column equals the value, or is one of a list of values.

    `user=None` means the rows that are means over users. ValueError if there is no such column.
    """
    table = load() if table is None else table
    keep = np.ones(len(table), dtype=bool)
    for column, value in wanted.items():
        if column not in table:
            raise ValueError(f"the table has no column {column!r}, only {', '.join(table.columns)}")
        found = table[column]
        if value is None:
            keep &= found.isna().to_numpy()
        elif isinstance(value, str) or not isinstance(value, Sequence):
            keep &= (found == value).to_numpy()
        else:
            keep &= found.isin(value).to_numpy()
    return table[keep]


def means(**key) -> pd.DataFrame:
    """Means over users of one agent's evaluations: a row a seed, a column a metric.

    ValueError if `key` leaves more than one number for a seed and metric.
    """
    return _evaluation(key)[0]


def by_user(metric: str, **key) -> pd.DataFrame:
    """Values by user of one agent: a row a seed, a column a user, NaN where a user has none.

    Empty if they were not kept; ValueError if `key` leaves more than one number for a user.
    """
    found = _evaluation(key)[1]
    return found[metric].dropna(how="all") if metric in found.columns else pd.DataFrame()


def _evaluation(key: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means [seeds, metrics] and values [seeds, (metric, user)] of an agent."""
    if set(key) == set(AGENT) and PATH.exists():
        return _known(PATH, PATH.stat().st_mtime_ns, tuple(key[name] for name in AGENT))
    return _by_seed(select(**key))


@lru_cache(maxsize=512)
def _known(path: Path, written: int, agent: tuple) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same, found at once and kept."""
    return _by_seed(_read(path, written).iloc[_places(path, written).get(agent, [])])


@lru_cache(maxsize=2)
def _places(path: Path, written: int) -> dict[tuple, np.ndarray]:
    """Where the rows of each agent's evaluations are, int64."""
    return dict(_read(path, written).groupby(AGENT, observed=True, sort=False).indices)


def _by_seed(found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the table -> means and values by user; ValueError if one number is there twice."""
    if found.empty:
        return pd.DataFrame(), pd.DataFrame()
    found = found.astype({"metric": object})
    if found.duplicated(["seed", "metric", "user"]).any():
        raise ValueError("more than one evaluation has these names: name more of them")
    mean = found["user"].isna()
    return (
        found[mean].pivot(index="seed", columns="metric", values="value"),
        found[~mean].pivot(index="seed", columns=["metric", "user"], values="value"),
    )


# ------------------------------------------------------------------------------------------ write


def ready() -> None:
    """Before long work: the table and the settings can be read, and the table written.

    OSError or ValueError where they cannot.
    """
    writable(PATH.parent)
    load()
    _settings()


def rows(values: Mapping[str, float], **key) -> pd.DataFrame:
    """Numbers without users (seconds, list statistics): metric -> value, as rows of the table.

    key: dataset, split, agent, seed, stage, protocol, all of them.
    """
    if set(key) != set(KEY):
        raise ValueError(f"a row needs {', '.join(KEY)}, not {', '.join(key)}")
    table = pd.DataFrame({"metric": list(values), "user": np.nan, "value": list(values.values())})
    return table.assign(**key)[COLUMNS]


def rows_of(
    evaluation: Evaluation,
    by_user: Sequence[str] = (),
    counts: object | None = None,
    prefix: str = "",
    **key,
) -> pd.DataFrame:
    """An evaluation as rows: the mean of every metric, and `by_user` metrics for every user.

    counts: int64 [n_items], training rows of each item; with it the statistics of the lists that
    were shown (`distinct`, `popularity_percentile`) become rows, too. prefix: "validation_" for an
    evaluation on validation data. ValueError for values by user where the mean is weighted.
    """
    if by_user and evaluation.weights is not None:
        raise ValueError("values by user need an evaluation in which every user counts the same")
    found = evaluation.mean()
    if counts is not None and evaluation.top is not None:
        lists = metrics.list_statistics(evaluation.top, counts)
        found |= {name: lists[name] for name in ("distinct", "popularity_percentile")}
    parts = [rows({f"{prefix}{name}": value for name, value in found.items()}, **key)]
    for name in by_user:
        values = np.asarray(evaluation.metrics[name], dtype=np.float64)
        part = pd.DataFrame({"user": np.arange(len(values), dtype=np.float64), "value": values})
        parts.append(part.assign(metric=f"{prefix}{name}", **key)[COLUMNS])
    return pd.concat(parts, ignore_index=True)


def record(found: pd.DataFrame) -> None:
    """Adds rows (columns `COLUMNS`) to the table, in the place of what it has of the same runs.

    An evaluation, the six columns `KEY`, is replaced as a whole; rows without a value are left out.
    The file is written beside and then moved, so that an interrupted run leaves the old one whole;
    two processes may record at the same time. ValueError for other columns or a row given twice.
    """
    if set(found.columns) != set(COLUMNS):
        raise ValueError(f"rows have the columns {', '.join(COLUMNS)}, not {list(found.columns)}")
    found = found[found["value"].notna()]
    if found.duplicated([*KEY, "metric", "user"]).any():
        raise ValueError("a number is there twice: the same run, metric and user")
    PATH.parent.mkdir(parents=True, exist_ok=True)
    with _locked(PATH.parent):
        old = load()
        replaced = pd.MultiIndex.from_frame(_plain(found)[KEY].drop_duplicates())
        kept = old[~_runs(old).isin(replaced)] if len(old) else old
        _write(pd.concat([_plain(kept), _plain(found)], ignore_index=True))


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of the table with the types of numbers and text, no categories."""
    types = dict.fromkeys(TEXT, object) | {"seed": "int64", "user": "float64", "value": "float64"}
    return table[COLUMNS].astype(types)


def _runs(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(_plain(table)[KEY])


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    """Sorted by all columns, the means before the users, rounded."""
    table = _plain(table).astype(dict.fromkeys(TEXT, "category"))
    table = table.assign(value=table["value"].round(DECIMALS))
    return table.sort_values(COLUMNS[:-1], na_position="first", ignore_index=True)


def _write(table: pd.DataFrame) -> None:
    """The same rows give the same bytes."""
    table = _tidy(table).astype({"user": "Int64"})
    text = table.to_csv(index=False, lineterminator="\n").encode()
    write_atomically(PATH, lzma.compress(text))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Waits until no other process records."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------------------------------- settings


def tuned(dataset: str, split: str) -> dict[str, dict]:
    """Name of a baseline -> the settings that validation data chose; {} where nothing was tuned.

    split: as in the table, for cold-start sessions "cold-start"; "seed-and-suggest" for that
    protocol, which has the same split and a search of its own.
    """
    return _settings().get(dataset, {}).get(split, {})


def _settings() -> dict[str, dict[str, dict[str, dict]]]:
    """Data set -> split -> baseline -> settings."""
    try:
        return json.loads(TUNED.read_text()) if TUNED.exists() else {}
    except ValueError as error:
        raise _damaged(TUNED, error) from None


def record_tuned(dataset: str, split: str, settings: Mapping[str, dict]) -> None:
    """Writes the settings of some baselines in the place of those that the file has of them."""
    with _locked(TUNED.parent):
        chosen = _settings()
        chosen.setdefault(dataset, {}).setdefault(split, {}).update(settings)
        write_atomically(TUNED, _compact(chosen).encode())


def _compact(chosen: Mapping) -> str:
    """JSON with one line a model."""
    datasets = []
    for dataset, splits in chosen.items():
        blocks = []
        for split, models in splits.items():
            lines = [f"   {json.dumps(m)}: {json.dumps(s)}" for m, s in models.items()]
            blocks.append(f"  {json.dumps(split)}: {{\n" + ",\n".join(lines) + "\n  }")
        datasets.append(f" {json.dumps(dataset)}: {{\n" + ",\n".join(blocks) + "\n }")
    return "{\n" + ",\n".join(datasets) + "\n}\n"
