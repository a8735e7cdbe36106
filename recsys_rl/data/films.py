"""The films of a data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from recsys_rl.data.movie_files import Movie, read_movies
from recsys_rl.data.notes import shown
from recsys_rl.data.titles import display_title
from recsys_rl.data.written_ids import Id


@dataclass(frozen=True)
class Film:
    id: Id
    title: str  # "The Matrix"
    filed: str  # "Matrix, The", as in the MovieLens file
    year: int | None
    genres: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.title if self.year is None else f"{self.title} ({self.year})"

    @property
    def mark(self) -> Id:
        """The same for one film that is listed twice, as in ML-100K: its title and year, and where
        the data know no year, which tells films of one title apart, its id."""
        return self.id if self.year is None else self.label

    def as_json(self) -> dict:
        parts = {"id": self.id, "title": self.title, "year": self.year}
        return parts | {"genres": list(self.genres)}


def read_films(place: Path) -> dict[Id, Film]:
    """The films of an extracted MovieLens folder by id. Raises ValueError or OSError.

    None for a table of ratings or a folder without a movie file: `with_all` makes them up.
    """
    try:
        movies = read_movies(place)
    except FileNotFoundError:
        if place.exists():
            return {}
        raise
    return {movie.item: _film(movie) for movie in movies}


def _film(movie: Movie) -> Film:
    """With texts that steer no terminal, not even by an entity of HTML."""
    filed = shown(movie.title)
    genres = tuple(map(shown, movie.genres))
    return Film(movie.item, shown(display_title(filed)), filed, movie.year, genres)


def with_all(films: dict[Id, Film], ids: Iterable[Id]) -> dict[Id, Film]:
    """The films by ids of the type of `ids`, and one called "film 7" for each that is missing."""
    written = {str(item): film for item, film in films.items()}
    found = {}
    for item in ids:
        film = written.pop(str(item), None)
        if film is None:
            title = shown(f"film {item}")
            film = Film(item, title, title, None, ())
        found[item] = film if film.id == item else replace(film, id=item)
    return found | {film.id: film for film in written.values()}


def without_duplicates(films: Iterable[Film]) -> list[Film]:
    """ML-100K lists some films under two ids: the first of each stays, in its place."""
    first: dict[Id, Film] = {}
    for film in films:
        first.setdefault(film.mark, film)
    return list(first.values())
