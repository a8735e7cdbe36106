"""The titles of a data set by every form in which somebody may type them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from rapidfuzz import fuzz, process

from recsys_rl.command.spelling import (
    counted_words,
    key_of,
    numbers_of,
    spelt_numbers,
    words_of,
)
from recsys_rl.data.films import Film
from recsys_rl.data.titles import as_words
from recsys_rl.data.written_ids import Id

MOST_PARTS = 20  # of a title, which are names by themselves
LONGEST = 200  # characters that are compared letter by letter
SIMILAR = 70  # percent of the letters that must agree
NEARLY = 88  # percent of the letters of a title that may be meant for one's own
SLIP = 3  # percent less for a slip in letters than for words left out
SHORT, LESS = 5, 8  # in names of fewer letters a slip makes another word
RARE = 5  # more letters than that, and a word of one title alone names it
KNOWN = 0.05  # of the likes of the most liked film
OTHER_PART, A_PART = 25, 15  # percent less for another part of a series, or where none was named
LIKED = 12  # percent more for the film that most people like, less for others
_PARTS = re.compile(r"[()]|\ba\.k\.a\. ")
_ENGLISH = re.compile(r", (?:The|A|An)$")  # such an article is no word here
_SUBTITLES = re.compile(r": | - |,? or: |, or ")


class Candidate(NamedTuple):
    """A film that may be meant, and how well the words fit, in percent."""

    film: Film
    fit: float


class Name(NamedTuple):
    """One way to call a film."""

    plain: str  # words with articles
    words: list[str]  # without
    film: Film


class Spelling(NamedTuple):
    """names: every whole title, as words with articles and in the form of `words_of`. parts: keys
    of the parts before and after colons and dashes."""

    names: list[tuple[str, list[str]]]
    parts: list[str]


class TitleIndex:
    """films: by id. likes: how often each was liked, by id; it decides between namesakes.
    spellings: those of some films, by title and title as filed, which are not worked out again."""

    def __init__(
        self,
        films: Mapping[Id, Film],
        likes: Mapping[Id, int],
        spellings: Mapping[tuple[str, str], Spelling] | None = None,
    ) -> None:
        self.films, self.likes = films, likes
        self._ids = {str(item): film for item, film in films.items()}
        self.last_year = max((film.year for film in films.values() if film.year), default=None)
        self.most_liked = max(likes.values(), default=0)
        self._names: list[Name] = []
        self._titles: dict[str, list[Film]] = defaultdict(list)
        self._parts: dict[str, list[Film]] = defaultdict(list)
        known = spellings or {}
        for film in films.values():
            spelling = known.get((film.title, film.filed)) or spelling_of(film)
            for plain, words in spelling.names:
                self._names.append(Name(plain, words, film))
                self._titles["".join(words)].append(film)
            for key in spelling.parts:
                self._parts[key].append(film)

    def by_id(self, text: str) -> Film | None:
        """The film with this id, as it is written."""
        return self._ids.get(text.strip())

    def liked(self, film: Film) -> int:
        """How many train users liked it."""
        return self.likes.get(film.id, 0)

    def titled(self, text: str) -> list[Film]:
        """Films of this whole title, however it is spelt; the most liked first."""
        return self._best(self._titles.get(key_of(text), ()))

    def part_titled(self, text: str) -> list[Film]:
        """Films with a part of this name before or after a colon or a dash; the most liked first"""
        return self._best(self._parts.get(key_of(text), ()))

    def holding(self, text: str) -> list[Film]:
        """Films with all these words in their title; the most liked first."""
        return self._best(name.film for name, _ in self._holding(words_of(text)))

    def _best(self, films: Iterable[Film]) -> list[Film]:
        """The most liked first; of a film that is listed twice, the more liked entry."""
        first: dict[Id, Film] = {}
        for film in sorted(films, key=lambda film: -self.liked(film)):
            first.setdefault(film.mark, film)
        return list(first.values())

    def spelt_like(self, text: str) -> list[Film]:
        """Films of other titles that have nearly all of its letters, and its numbers."""
        typed = key_of(text)
        keys = process.extract(
            typed, self._titles.keys(), scorer=fuzz.ratio, score_cutoff=NEARLY, limit=9
        )
        numbers = _digits(typed)
        return self._best(
            film
            for key, _, _ in keys
            if key != typed and _digits(key) == numbers
            for film in self._titles[key]
        )

    def candidates(self, text: str) -> list[Candidate]:
        """Films whose title holds the words or is spelt alike, the likeliest first."""
        typed, best = words_of(text), {}
        for name, fit in (*self._holding(typed), *self._alike(text)):
            if _is_another_part(typed, name):
                fit -= OTHER_PART if numbers_of(typed) else A_PART
            elif typed[:1] and typed[0].isdecimal() and typed[0] not in name.words:
                fit -= A_PART  # "Ten Commandments" is not "Commandments"
            mark = name.film.mark  # a film that is listed twice is one
            if mark not in best or self._rank(Candidate(name.film, fit)) > self._rank(best[mark]):
                best[mark] = Candidate(name.film, fit)
        return sorted(best.values(), key=self._rank, reverse=True)

    def _rank(self, candidate: Candidate) -> float:
        return candidate.fit + LIKED * (self.liked(candidate.film) / max(1, self.most_liked)) ** 0.5

    def _holding(self, typed: list[str]) -> list[tuple[Name, float]]:
        """Names with all these words; a plural is no other word."""
        stems = [_stem(word) for word in typed]
        phrase, wanted, found = f" {' '.join(stems)} ", set(stems), []
        if not wanted:
            return []
        for name, theirs, title in self._stems:
            if wanted <= theirs:
                begins, holds = title.startswith(phrase), phrase in title
                if len(typed) > 1:
                    found.append((name, 94 if begins else 90 if holds else 86))
                else:  # a number is no word that a title is called by
                    found.append((name, 84 if begins and not typed[0].isdecimal() else 72))
        if (
            len(typed) == len(found) == 1
            and len(phrase) > RARE + 2
            and self._is_known(found[0][0].film)
        ):
            found = [(found[0][0], 88)]  # "lebowski" is in no other title
        return found

    @cached_property
    def _stems(self) -> list[tuple[Name, frozenset[str], str]]:
        """Names with the stems of their words, as a set and in their order."""
        stems = [(name, [_stem(word) for word in name.words]) for name in self._names]
        return [(name, frozenset(words), f" {' '.join(words)} ") for name, words in stems]

    @cached_property
    def _letters(self) -> tuple[list[str], list[str]]:
        """Names with their articles, and run together without them."""
        return [name.plain for name in self._names], ["".join(name.words) for name in self._names]

    def _is_known(self, film: Film) -> bool:
        return self.liked(film) >= KNOWN * max(1, self.most_liked)

    def _alike(self, text: str) -> list[tuple[Name, float]]:
        """Names with much the same letters, with their articles or run together."""
        typed = as_words(text)
        if not typed or len(typed) > LONGEST:
            return []
        found = []
        for query, names in zip((typed, key_of(text)), self._letters, strict=True):
            alike = process.extract(
                query, names, scorer=fuzz.ratio, score_cutoff=SIMILAR, limit=20, processor=None
            )
            for name, fit, place in alike:
                if fit < 100:
                    fit -= LESS if min(len(query), len(name)) < SHORT else SLIP
                found.append((self._names[place], fit))
        return found


def spelling_of(film: Film) -> Spelling:
    """Worked out from its title."""
    parts = _SUBTITLES.split(film.title, maxsplit=MOST_PARTS)
    keys = [(key_of(part), part) for part in parts] if len(parts) > 1 else []
    keys = [key for key, part in keys if not key.isdecimal() or key == part]  # no "Episode V"
    return Spelling([(plain, counted_words(plain)) for plain in _titles(film)], keys)


def _is_another_part(typed: list[str], name: Name) -> bool:
    """Whether the numbers differ; none is needed beside words of the part's own title, in order.

    One that counts something is that of no part: "It Takes Two" is not "It 2".
    """
    mine, theirs = numbers_of(typed), numbers_of(name.words)
    counting = spelt_numbers(name.plain)
    if mine in (theirs, theirs - counting):
        beside = set(pairwise(name.words))
        return any(
            word in mine & counting and not {(before, word), (word, after)} & beside
            for before, word, after in zip(typed, typed[1:], [*typed[2:], ""], strict=False)
        )
    own = name.words[max(map(name.words.index, theirs), default=0) + 1 :]
    left = iter(name.words)
    in_order = all(word in left for word in typed)
    return bool(mine) or not (in_order and set(own) & set(typed))


def _titles(film: Film) -> list[str]:
    """Every whole title of a film, as words: "Seven (Se7en)" is also "Seven" and "Se7en"."""
    titles = [film.title]
    if film.filed != film.title and not _ENGLISH.search(film.filed):
        titles.append(film.filed)  # "illusion, La" without its article in front
    parts = [
        part
        for title in titles
        for part in _PARTS.split(title, maxsplit=MOST_PARTS)  # some titles are signs alone
        if part != title
    ]
    return [plain for plain in dict.fromkeys(map(as_words, [*titles, *parts])) if plain]


def _digits(key: str) -> str:
    return "".join(filter(str.isdecimal, key))


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
