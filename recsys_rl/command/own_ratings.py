"""One's own ratings: an export of MovieLens, Letterboxd or IMDb, as a taste."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path

from recsys_rl.command.dates import Moment, moments
from recsys_rl.command.errors import CommandError, first_line
from recsys_rl.command.known_titles import in_full
from recsys_rl.command.links import Links
from recsys_rl.command.spelling import split_year
from recsys_rl.command.taste import Taste
from recsys_rl.command.title_index import TitleIndex
from recsys_rl.data.download import SHARED_IDS, SOURCES
from recsys_rl.data.encodings import western
from recsys_rl.data.films import Film
from recsys_rl.data.layouts import tells_separator
from recsys_rl.data.notes import note, shortened
from recsys_rl.data.quotes import open_quote
from recsys_rl.data.regular_files import content_of
from recsys_rl.data.titles import display_title
from recsys_rl.data.written_ids import Id

LARGEST, MOST_ROWS = 2**23, 50_000  # bytes and lines: nobody has rated more films
ARCHIVE = b"PK\x03\x04"  # how a zip file begins, and a spreadsheet too
SEPARATORS = ",;\t"  # of columns, as programs of different countries write them
MOST_FILES = 99  # of what was not found, beside one export
LIKED, DISLIKED = 4.0, 3.0  # stars of five: from the first on liked, up to the second not
NO_FILMS = ("series", "episode", "game", "podcast", "music")  # in a Title Type of IMDb


@dataclass(frozen=True)
class Format:
    """Columns of an export, each by the names that it has had; stars: how many are the most."""

    name: str
    rating: Sequence[str]
    stars: float
    needed: Sequence[str]
    title: Sequence[str] = ()
    original: Sequence[str] = ()  # title in the language of the film
    year: Sequence[str] = ()
    imdb: Sequence[str] = ()
    item: Sequence[str] = ()
    time: Sequence[str] = ()
    user: Sequence[str] = ()
    kind: Sequence[str] = ()


FORMATS = (
    Format("Letterboxd", ("rating",), 5, ("letterboxd uri", "name"), ("name",), year=("year",),
           time=("date",)),
    Format("IMDb", ("your rating",), 10, ("const", "your rating"), ("title",), ("original title",),
           ("year",), imdb=("const",), time=("date rated",), kind=("title type",)),
    Format("MovieLens", ("rating",), 5, ("rating",), ("title", "name"), year=("year",),
           imdb=("imdb_id", "imdbid"), item=("movieid", "movie_id"),
           time=("timestamp", "date"), user=("userid", "user_id")),
)  # fmt: skip


@dataclass
class OwnRatings:
    """What was read: from where, the taste, the rows whose films the data set has not, and how
    many have no rating."""

    source: str
    taste: Taste = field(default_factory=Taste)
    header: Sequence[str] = ()
    unmatched: list[list[str]] = field(default_factory=list)
    unrated: int = 0

    def summary(self) -> str:
        """One sentence, with the thresholds."""
        taste, rest = self.taste, len(self.unmatched)
        films = "film" if len(taste.liked) == 1 else "films"
        unrated = f", {self.unrated} without a rating on the scale" if self.unrated else ""
        return (
            f"{self.source}: {len(taste.liked)} {films} liked ({LIKED:g} or more of 5 stars), "
            f"{len(taste.disliked)} not ({DISLIKED:g} or fewer), {len(taste.seen)} in between, "
            f"{rest} {'is' if rest == 1 else 'are'} not in this data set{unrated}"
        )


def read_ratings(
    path: Path, dataset: str, index: TitleIndex, links: Mapping[Id, Links]
) -> OwnRatings:
    """Films by MovieLens id or IMDb id where the file and the data set have them, else by title
    and year. A data set of somebody's own has ids of its own: a file with titles goes by them.
    Raises CommandError for a file that is none of the exports, of several people, or without
    ratings, or with one above its scale."""
    header, rows = _table(path)
    form, columns = _format(path, header)
    form = _on_scale(form, path, rows, columns.get("rating"))
    by_imdb = {_digits(link.imdb): item for item, link in links.items() if link.imdb}
    own_ids: bool | None = False  # whether ids are others than those of MovieLens; None: perhaps
    if dataset not in SHARED_IDS:
        own_ids = True if dataset in SOURCES else None if "title" in columns else False
    elif {"title", "item"} <= set(columns):
        own_ids = _are_other_ids(path, rows, columns, index)
    found = OwnRatings(form.name, header=header)
    rated: list[tuple[int, Film, float]] = []
    users: set[str] = set()
    for number, row in enumerate(rows):
        value = {name: row[place].strip() for name, place in columns.items() if place < len(row)}
        users.add(value.get("user", ""))
        stars = _stars(value.get("rating", ""), form.stars)
        if stars is None:
            found.unrated += 1
        elif (film := _film(value, index, by_imdb, own_ids)) is None:
            found.unmatched.append(row)
        else:
            rated.append((number, film, stars))
    if len(users) > 1:
        raise CommandError(
            f"{path} holds the ratings of {len(users)} people: keep the rows of one of them"
        )
    if found.unrated == len(rows):
        raise CommandError(
            f"{path} holds no rating above 0 and up to {form.stars:g}: give the file of your "
            "ratings (at Letterboxd ratings.csv), and not of what you have watched or plan to"
        )
    order = _times(rows, columns.get("time"), path)
    found.taste = _taste(sorted(rated, key=lambda each: order[each[0]]))
    return found


def _times(rows: Sequence[Sequence[str]], place: int | None, path: Path) -> Sequence[Moment]:
    """Of every row, those whose films are not here, too: they tell how dates are written."""
    if place is None:
        return [()] * len(rows)
    times = moments([row[place] if place < len(row) else "" for row in rows])
    if times is None:
        note(f"the dates in {path} can be read in no way or in two: its rows count in their order")
    return times or [()] * len(rows)


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        raw = content_of(path, LARGEST)
    except (OSError, ValueError) as error:  # ValueError: no file can be called that
        raise CommandError(f"the ratings cannot be read: {first_line(error)}") from error
    if raw.startswith(ARCHIVE):
        raise CommandError(f"{path} is an archive: unpack it, and name the file of your ratings")
    text = _decoded(raw).lstrip()
    if max(map(text.count, "\n\r")) > MOST_ROWS:
        raise CommandError(f"{path} has more than {MOST_ROWS:,} lines: keep those of one person")
    first, _, rest = text.partition("\n")
    if tells_separator(first):
        text, first = rest, rest.partition("\n")[0]
    separator = max(SEPARATORS, key=first.count)
    if found := open_quote(io.StringIO(text, newline=""), separator):
        row = shortened(list(io.StringIO(text, newline=""))[found - 1])
        raise CommandError(f"{path}: a quote opens a value and none closes it, in {row}")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[list[str]] = []
    try:
        for row in filter(None, reader):
            rows.append(row)
            if any(map(str.strip, row[len(rows[0]) :])):
                raise CommandError(
                    f"{path}: row {len(rows)}, {shortened(separator.join(row))}, has a column more "
                    "than the header: a value that holds what separates columns stands in quotes"
                )
    except csv.Error as error:
        raise CommandError(f"{path} is no CSV file ({error})") from error
    if len(rows) < 2:
        raise CommandError(f"{path} holds no rating")
    return rows[0], rows[1:]


def _decoded(raw: bytes) -> str:
    """As spreadsheets save text: UTF-8, UTF-16 with its mark, Windows' own or latin-1."""
    encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError:
        return western(raw)


def _format(path: Path, header: Sequence[str]) -> tuple[Format, dict[str, int]]:
    names = [name.strip().casefold() for name in header]
    for form in FORMATS:
        columns = {}
        for part in ("rating", "title", "original", "year", "imdb", "item", "time", "user", "kind"):
            places = [names.index(name) for name in getattr(form, part) if name in names]
            if places:
                columns[part] = places[0]
                _refuse_twice(path, header, names, places[0])
        known = set(columns) & {"title", "item", "imdb"}
        if set(form.needed) <= set(names) and known:
            return form, columns
    raise CommandError(
        f"{path} has the columns {', '.join(header)[:120]}: an export of MovieLens (movieId, "
        "rating), Letterboxd (Name, Year, Letterboxd URI, Rating) or IMDb (Const, Your Rating) is "
        "expected"
    )


def _refuse_twice(path: Path, header: Sequence[str], names: Sequence[str], place: int) -> None:
    if (times := names.count(names[place])) > 1:
        raise CommandError(f"{path} has {times} columns {header[place].strip()!r}: rename one")


def _on_scale(form: Format, path: Path, rows: Sequence[Sequence[str]], place: int | None) -> Format:
    """The format with the scale that the largest rating tells: of 5 or of 10.

    Raises CommandError for a rating above.
    """
    if place is None:
        return form
    given = [_number(row[place]) if place < len(row) else 0.0 for row in rows]
    top = max(given, default=0.0)
    if top <= form.stars:
        return form
    if top <= 10:
        return replace(form, name="a list with ratings to 10", stars=10)
    row = given.index(top)
    raise CommandError(
        f"{path}: row {row + 2}, {shortened(','.join(rows[row]))}, has a rating of {top:g}: write "
        "all ratings as stars up to 5, or as numbers up to 10"
    )


def _number(text: str) -> float:
    """ "4,5" is 4.5; 0 for what is no rating."""
    if "_" in text:  # Python would take 1_0 for 10
        return 0.0
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return 0.0
    return number if isfinite(number) else 0.0


def _stars(text: str, most: float) -> float | None:
    """Of five; None for what is no rating."""
    return _number(text) * 5 / most if _number(text) > 0 else None


def _film(
    value: Mapping[str, str], index: TitleIndex, by_imdb: Mapping[str, Id], own_ids: bool | None
) -> Film | None:
    """An IMDb id is certain: what it is not found by is another film, whatever its title. What
    IMDb calls no film may still be in the data set, but only its id says so."""
    imdb = _digits(value.get("imdb", "").removeprefix("tt"))
    if imdb in by_imdb:
        return index.films[by_imdb[imdb]]
    if value.get("item") and own_ids is False:
        return _of_id(value["item"], index)
    film = _of_title(value, index, by_imdb, imdb)
    return film or (_untitled(value, index) if value.get("item") and own_ids is None else None)


def _are_other_ids(
    path: Path, rows: Sequence[Sequence[str]], columns: Mapping[str, int], index: TitleIndex
) -> bool:
    """Whether more rows name one film by id and another by title and year than the same; said, and
    so are the rows of a file whose ids are right."""
    agreed, others = 0, []
    for row in rows:
        value = {name: row[place].strip() for name, place in columns.items() if place < len(row)}
        title, year = split_year(display_title(value.get("title", "")))
        year = _year(value.get("year", "")) or year
        film = _of_id(value.get("item", ""), index)
        marks = {each.mark for each in index.titled(title) if each.year == year}
        if film is not None and marks:
            agreed += film.mark in marks
            others += [row] if film.mark not in marks else []
    if not others:
        return False
    by_title = len(others) > agreed
    note(
        f"{path}: titles of other films than their ids: {len(others):,}, as "
        f"{shortened(','.join(others[0]))}; " + ("titles count" if by_title else "ids count")
    )
    return by_title


def _of_id(item: str, index: TitleIndex) -> Film | None:
    """Numbers as pandas writes them, too: 7.0."""
    whole = item.removesuffix(".0")
    return index.by_id(item) or (index.by_id(whole) if whole.isdecimal() else None)


def _untitled(value: Mapping[str, str], index: TitleIndex) -> Film | None:
    """By id in somebody's own data, where these have no title, or the title of the file."""
    film = _of_id(value["item"], index)
    if film is None or film.year is not None:
        return None
    title, _ = split_year(display_title(value.get("title", "")))
    known = film.title == f"film {film.id}" or film in index.titled(title)
    return film if known else None


def _of_title(
    value: Mapping[str, str], index: TitleIndex, by_imdb: Mapping[str, Id], imdb: str
) -> Film | None:
    title, year = value.get("title", ""), value.get("year", "")
    if not title or _is_no_film(value.get("kind", "")):
        return None
    others = set(by_imdb.values()) if imdb else set()
    if year:
        number = _year(year)
        if number is None:  # a film of any year would be a guess
            return None
        film = _titled(title, number, index, others)
        name, told = split_year(title)
        if film is None and told == number:  # "Heavy Metal 2000" is a title, too
            film = _titled(name, number, index, others)
        original = value.get("original", "")
        return film or _titled(original, number, index, others) if original else film
    return _titled(*split_year(display_title(title)), index, others)


def _year(text: str) -> int | None:
    """Numbers as pandas writes them, too: 2021.0."""
    whole = text.removesuffix(".0")
    return int(whole) if whole.isdecimal() and len(whole) <= 4 else None


def _digits(text: str) -> str:
    """A number as text without leading zeros, however long; "" for what is none."""
    return text.lstrip("0") if text.isascii() and text.isdecimal() else ""


def _is_no_film(kind: str) -> bool:
    """ "TV Mini Series", "tvEpisode"; an unknown type is taken for a film."""
    return any(word in kind.casefold() for word in NO_FILMS)


def _titled(title: str, year: int | None, index: TitleIndex, others: Set[Id]) -> Film | None:
    """The film of this title, at most a year off, where no year is given the only one; never one
    of the others."""
    films = [*index.titled(title), *index.part_titled(title)]
    if year is not None:  # "Bicycle Thieves" is "The Bicycle Thief"
        films += [film for name in in_full(title)[1:] for film in index.titled(name)]
    films = [film for film in films if film.id not in others]
    if year is None:
        return films[0] if len(films) == 1 else None
    near = [film for film in films if film.year is not None and abs(film.year - year) <= 1]
    near.sort(key=lambda film: abs(film.year - year))
    return near[0] if near else None


def _taste(rated: Iterable[tuple[int, Film, float]]) -> Taste:
    latest: dict[Id, tuple[Film, float]] = {}
    for _, film, stars in rated:
        latest.pop(film.id, None)
        latest[film.id] = film, stars
    liked = [film for film, stars in latest.values() if stars >= LIKED]
    disliked = [film for film, stars in latest.values() if stars <= DISLIKED]
    between = [film for film, stars in latest.values() if DISLIKED < stars < LIKED]
    return Taste(liked, disliked, between)


def write_unmatched(path: Path, found: OwnRatings) -> Path | None:
    """The rows whose films are not in the data set, in a new file beside the file, or one that
    holds just them; None where that fails."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([found.header, *found.unmatched])
    content = text.getvalue().encode()
    for number in ("", *(f"-{count}" for count in range(2, MOST_FILES + 1))):
        rest = path.with_name(f"{path.stem}-not-found{number}.csv")
        try:
            file = rest.open("xb")
        except FileExistsError:  # never over what somebody has written
            if _holds(rest, content):
                return rest
            continue
        except OSError:
            return None
        try:
            with file:
                file.write(content)
            return rest
        except OSError:  # a full disk: half a list would be taken for a whole one
            rest.unlink(missing_ok=True)
            return None
    return None


def _holds(path: Path, content: bytes) -> bool:
    try:
        return content_of(path, len(content)) == content
    except (OSError, ValueError):
        return False
