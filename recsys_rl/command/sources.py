"""The data set and the released model that a call is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_rl.command.errors import CommandError, first_line
from recsys_rl.command.title_cache import Spellings, films_of
from recsys_rl.command.title_index import TitleIndex
from recsys_rl.data.download import SHARED_IDS, SOURCES, DataUnavailable
from recsys_rl.data.films import Film, with_all
from recsys_rl.data.locating import NoSuchData, find_data, located
from recsys_rl.data.notes import note, shortened
from recsys_rl.data.written_ids import Id
from recsys_rl.release_files import UnknownRelease, read_config

if TYPE_CHECKING:
    from recsys_rl.serving import Recommender


@dataclass(frozen=True)
class Source:
    """A data set with its films, and the model for it, of which only the config has been read.

    name: how the model is called in the answer. films: by the ids that the model has, and those
    of the data set that it does not know. items: the ids that the model knows, in its order.
    likes: how often each was liked in training.
    """

    dataset: str
    data: Path
    folder: Path
    name: str
    films: Mapping[Id, Film]
    items: list[Id]
    likes: Mapping[Id, int]
    spellings: Spellings = field(default_factory=dict)

    @cached_property
    def index(self) -> TitleIndex:
        return TitleIndex(self.films, self.likes, self.spellings)

    @property
    def last_year(self) -> int | None:
        """Of the newest film."""
        return max((film.year for film in self.films.values() if film.year), default=None)

    @cached_property
    def model(self) -> Recommender:
        return load_model(self.folder)


def open_source(dataset: str | None, root: Path, models: Path, model: Path | None) -> Source:
    """What --dataset, --root, --models and --model name; the data are fetched if need be.

    Raises CommandError for whatever stands in the way.
    """
    if model:
        dataset, data = open_data(dataset or _trained_on(model), root)
        folder, name = model, str(model)
    else:
        if not _is_own(dataset, root):
            _check_released(dataset, models)
        dataset, data = open_data(dataset, root)
        _check_released(dataset, models)
        folder, name = models / dataset, f"{models.resolve().name}/{dataset}"
    films, spellings = open_films(data)
    config = _config(folder)
    _check_trained_on(config.get("dataset"), dataset, folder)
    items = config["item_ids"]
    counts = config.get("positive_counts")
    known = _are_counts(counts, items)
    likes = {item: max(0, n) for item, n in zip(items, counts, strict=True)} if known else {}
    try:
        films = _all_films(items, films, dataset)
    except CommandError:
        load_model(folder)  # which says so where the model is damaged
        raise
    return Source(dataset, data, folder, name, films, items, likes, spellings)


def open_films(folder: Path) -> tuple[dict[Id, Film], Spellings]:
    """The films by id, and their spellings. Raises CommandError if they cannot be read."""
    try:
        return films_of(folder)
    except (ValueError, OverflowError, OSError) as error:
        raise CommandError(
            f"the films cannot be read: {first_line(error)}; "
            + (f"remove {folder} to have it fetched again" if folder.name in SOURCES else "mend it")
        ) from error


def open_data(dataset: str | None, root: Path) -> tuple[str, Path]:
    """Name and folder of the data set, which is downloaded if it is not there."""
    try:
        return find_data(dataset, root)
    except NoSuchData as error:
        raise CommandError(f"{error}; name where it is with --dataset or --root") from error
    except DataUnavailable as error:
        name = dataset or "ml-1m"
        tried = "; ".join(f"{source}: {first_line(reason)}" for source, reason in error.tried)
        raise CommandError(
            f"{name} could not be had ({tried}): get {name}.zip from "
            f"https://grouplens.org/datasets/movielens/ and put it into {root}"
        ) from error
    except ValueError as error:  # no such data set
        raise CommandError(first_line(error)) from error
    except OSError as error:
        raise CommandError(
            f"{root} cannot hold the data ({first_line(error)}): name another folder with --root"
        ) from error


# ------------------------------------------------------------------------------ the model


def load_model(folder: Path) -> Recommender:
    """The released agent. Raises CommandError if it is damaged."""
    from recsys_rl.serving import Recommender  # numpy, which titles do not wait for

    try:
        return Recommender.load(folder)
    except UnknownRelease as error:
        raise CommandError(first_line(error)) from error
    except ValueError as error:
        raise damaged(first_line(error)) from error


def damaged(finding: str) -> CommandError:
    return CommandError(f"{finding}: restore the files of this model")


def released(models: Path) -> list[str]:
    """The data sets that a model is released for, published ones first."""
    there = sorted(path.parent.name for path in models.glob("*/config.json") if path.is_file())
    own = [n for n in there if n not in SOURCES and _dataset_of(models / n) == n]
    return [name for name in there if name in SOURCES] + own


def _dataset_of(folder: Path) -> str | None:
    """The data set that the model in a folder says it was trained on."""
    try:
        return read_config(folder).get("dataset")
    except UnknownRelease:  # which says so when it is loaded
        return folder.name
    except ValueError:
        return None


def _is_own(dataset: str | None, root: Path) -> bool:
    """Whether this is somebody's own folder or file, and neither a published set nor nothing."""
    if dataset is None or dataset in SOURCES:
        return False
    return located(dataset, root) is not None


def _check_released(dataset: str | None, models: Path) -> None:
    """Before anything is downloaded. `dataset` None: any model will do."""
    there = released(models)
    if not there:
        raise CommandError(f"{models} holds no released model: train one with recsys_rl.ipynb")
    if dataset is not None and dataset not in there:
        raise CommandError(
            f"{models} holds no model for the data set {dataset!r}: "
            f"choose --dataset {' or --dataset '.join(there)}"
        )


def _trained_on(folder: Path) -> str:
    """The data set of the model in a folder."""
    try:
        dataset = read_config(folder).get("dataset")
        if not isinstance(dataset, str) or Path(dataset).name != dataset:  # never a path
            raise ValueError("config.json does not name a data set")
        return dataset
    except UnknownRelease as error:
        raise CommandError(first_line(error)) from error
    except ValueError as error:
        raise CommandError(
            f"{folder} is not the folder of a released model ({first_line(error)}): name the "
            "folder that training wrote, or leave --model out"
        ) from error


def _check_trained_on(trained: Any, dataset: str, folder: Path) -> None:
    """Numbers of films mean other films in other data; the sets of `SHARED_IDS` alone share them.
    Somebody's own data may be a copy of those that it was trained on.

    Raises CommandError.
    """
    if not isinstance(trained, str) or trained == dataset or {trained, dataset} <= SHARED_IDS:
        return
    if dataset in SOURCES:
        raise CommandError(
            f"{folder} was trained on {shortened(trained, 255)}, whose films have other ids than "
            f"those of {dataset}: name the data that it was trained on with --dataset"
        )
    note(
        f"{folder} was trained on {shortened(trained, 255)}, and titles are those of {dataset}: "
        "right only where the two are the same data"
    )


def _config(folder: Path) -> dict[str, Any]:
    """The config of a release, with ids that are ids; what else is wrong shows when it is loaded.

    Raises CommandError.
    """
    try:
        config = read_config(folder)
    except ValueError:
        config = {}
    ids = config.get("item_ids")
    known = isinstance(ids, list) and (_all(ids, int) or _all(ids, str))
    if not known or not all(one < other for one, other in pairwise(ids)):
        load_model(folder)  # which says what is wrong
        raise damaged(f"{folder}/config.json names no items")
    return config


def _all(values: list[Any], kind: type) -> bool:
    return bool(values) and all(type(value) is kind for value in values)


def _are_counts(counts: Any, items: list[Id]) -> bool:
    return isinstance(counts, list) and len(counts) == len(items) and _all(counts, int)


def _all_films(ids: list[Id], films: dict[Id, Film], dataset: str) -> dict[Id, Film]:
    """Films by the model's ids; data of somebody's own need not list them all.

    Raises CommandError for the films of another data set.
    """
    listed = set(map(str, films))
    strange = [item for item in ids if str(item) not in listed]
    if strange and films and (dataset in SOURCES or len(strange) == len(ids)):
        raise CommandError(
            f"the model knows {len(strange)} films that the data set does not list, for instance "
            f"id {strange[0]!r}: use the data set that it was trained on"
        )
    if strange:
        note(f'{len(strange)} films have no title in the data set: they are called "film" and id')
    return with_all(films, ids)
