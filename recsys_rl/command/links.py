"""Where films are described: IMDb and TMDB, in the data sets that say so (`links.csv`)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from recsys_rl.data.films import Film
from recsys_rl.data.layouts import tells_separator
from recsys_rl.data.regular_files import content_of
from recsys_rl.data.written_ids import Id

LARGEST = 2**26  # bytes
LONGEST = 12  # digits of an id


class Links(NamedTuple):
    """Ids as in `links.csv`, or ""."""

    imdb: str
    tmdb: str

    @property
    def urls(self) -> list[str]:
        return [url for url in self.as_json().values() if url]

    def as_json(self) -> dict[str, str | None]:
        return {
            "imdb": f"https://www.imdb.com/title/tt{self.imdb}/" if self.imdb else None,
            "tmdb": f"https://www.themoviedb.org/movie/{self.tmdb}" if self.tmdb else None,
        }


def read_links(folder: Path, films: Mapping[Id, Film]) -> dict[Id, Links]:
    """By id of the film; nothing where the set has no such file, or one that cannot be read."""
    ids = {str(item): item for item in films}
    try:
        text = content_of(folder / "links.csv", LARGEST).decode("utf-8-sig")
        first, _, rest = text.partition("\n")
        text = rest if tells_separator(first) else text
        head = text.partition("\n")[0]
        separator = max(",;\t", key=head.count)  # as spreadsheets of different countries save it
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
    except (OSError, ValueError, csv.Error):
        return {}
    found = {}
    for row in rows:
        item = ids.get(row.get("movieId") or "")
        imdb, tmdb = row.get("imdbId") or "", row.get("tmdbId") or ""
        if item is not None and (imdb + tmdb).isdecimal() and _short(imdb, tmdb):
            found[item] = Links(imdb, tmdb)
    return found


def _short(*ids: str) -> bool:
    return all(len(each) <= LONGEST for each in ids)
