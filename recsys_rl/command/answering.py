"""One call: the films that were named, and the answer to them."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from recsys_rl.command.errors import CommandError
from recsys_rl.command.filters import fitting
from recsys_rl.command.keyboard import Ask, best_ask, pick_line
from recsys_rl.command.links import read_links
from recsys_rl.command.matching import NEWER, OFFERED, Match, find, names_of
from recsys_rl.command.naming import Named, named
from recsys_rl.command.output import Reply, as_json, as_text, style_of, suggested
from recsys_rl.command.profiles import Answer, Row, held, read_profile, taste_of
from recsys_rl.command.random_films import draw_films
from recsys_rl.command.sources import Source, load_model, open_source
from recsys_rl.command.spelling import key_of
from recsys_rl.command.suggestions import Suggestion, Wishes
from recsys_rl.command.taste import Taste
from recsys_rl.data.films import Film, without_duplicates
from recsys_rl.data.notes import say, shortened, shown

if TYPE_CHECKING:
    from recsys_rl.command.suggesting import Suggester
    from recsys_rl.serving import Recommender

PICKS = 3  # tries to pick one of several films
SHOWN = 20  # films that a search lists
NEWEST = "ml-latest-small", 2018  # the released set whose films end last

UNREAD = "this model does not read dislikes: such films are only left out"

Show = Callable[[str], None]


def answer(arguments: argparse.Namespace, show: Show = print, ask: Ask | None = None) -> None:
    """Shows the answer. ask: how a session asks, by default in the best way that stdin allows.

    Raises CommandError for whatever stands in the way.
    """
    source = open_source(arguments.dataset, arguments.root, arguments.models, arguments.model)
    if arguments.search is not None:
        show(_search(" ".join(arguments.search), source, arguments.json))
        return
    fits = fitting(arguments.genre, arguments.not_genre, arguments.year, source.films.values())
    with held(arguments.profile if arguments.session else None):  # before it is read
        call = _Call(arguments, source, show)
        from recsys_rl.command.suggesting import Suggester  # numpy: after errors in titles

        wishes = Wishes(arguments.k, arguments.adventure, arguments.series, fits)
        if arguments.session:
            call.play(Suggester(source), wishes, best_ask() if ask is None else ask)
        else:
            call.suggest(Suggester(source), wishes)


class _Call:
    """What was said so far: notes and problems go to stderr at once, and into the JSON."""

    def __init__(self, arguments: argparse.Namespace, source: Source, show: Show) -> None:
        self.arguments, self.source, self.show = arguments, source, show
        self.notes: list[str] = []
        self.problems: list[Match] = []
        self.seed: int | None = None
        self.others: list[Row] = []
        self.more: Row = {}
        self.links = read_links(source.data, source.films)
        self.answers, kept = self._kept()
        self.taste = kept | self._named(bool(kept.films or self.answers))

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)
        say(f"note: {sentence}")

    # ------------------------------------------------------------------ films that were named

    def _kept(self) -> tuple[list[Answer], Taste]:
        """Answers of the profile, and the taste that the ratings show."""
        taste, answers = Taste(), []
        if self.arguments.ratings is not None:
            taste = self._ratings()
        path = self.arguments.profile
        if path is not None and (os.path.exists(path) or not self.arguments.session):
            answers, self.others, self.more = read_profile(
                path, self.source.dataset, self.source.index
            )
            if self.others:
                first, count = shortened(self.others[0]["title"]), len(self.others)
                self.note(f"films of {path} that are not in this data set: {count}, as {first}")
        return answers, taste if self.arguments.session else taste | taste_of(answers)

    def _ratings(self) -> Taste:
        from recsys_rl.command.own_ratings import read_ratings, write_unmatched

        path = self.arguments.ratings
        found = read_ratings(path, self.source.dataset, self.source.index, self.links)
        self.note(found.summary())
        if found.unmatched:
            rest = write_unmatched(path, found)
            self.note(
                f"those that were not found stand in {rest}"
                if rest
                else "the list of those that were not found cannot be written"
            )
        if not found.taste.films:
            raise CommandError(f"no film of {path} is in the data set {self.source.dataset}")
        return found.taste

    def _named(self, known: bool) -> Taste:
        """known: whether files tell of the taste. CommandError where nothing does."""
        arguments = self.arguments
        texts = arguments.films, arguments.dislike, arguments.seen
        found = [self._films(part) for part in texts]
        problems = [match.problem for match in self.problems]
        name, year = NEWEST
        if any(NEWER in problem for problem in problems) and (self.source.last_year or year) < year:
            problems.append(f"--dataset {name} has films to {year}")
        none_is_said = not (found[0] or found[1])
        asked_to = texts[0] or texts[1]
        if problems and not known and none_is_said and (asked_to or not found[2]):
            raise CommandError(*problems)
        for problem in problems:
            say(f"recommendation.py: {problem}")
        liked, disliked, seen = (without_duplicates(part) for part in found)
        not_liked = {film.mark for film in disliked}
        if both := [film for film in liked if film.mark in not_liked]:
            raise CommandError(f"{names_of(both)} is named as liked and as not liked: say which")
        answered = not_liked | {film.mark for film in liked}
        return Taste(liked, disliked, [film for film in seen if film.mark not in answered])

    def _films(self, texts: Sequence[str]) -> list[Film]:
        """Those that the model knows, or that are at least not to be suggested."""
        if any(not text.strip() for text in texts):
            raise CommandError("a film that is named is empty: give an id or a title")
        found: Named = named(texts, self.source.index, _pick if _can_ask() else None)
        for note in found.notes:
            self.note(note)
        self.problems += found.problems
        known = set(self.source.items)
        unknown = [film for film in found.films if film.id not in known]
        if unknown and len(unknown) == len(found.films):
            load_model(self.source.folder)  # where it is damaged, that is what is wrong
            self.problems += [
                Match(
                    film.label,
                    problem="the model has learned nothing about "
                    f"{names_of([film])}: add a film it knows",
                )
                for film in unknown
            ]
        elif unknown:
            self.note(
                "left out, since the model has learned nothing about it: " + names_of(unknown)
            )
        return [film for film in found.films if film.id in known]

    # ------------------------------------------------------------------ answers

    def suggest(self, suggester: Suggester, wishes: Wishes) -> None:
        arguments, said = self.arguments, [*self.taste.liked, *self.taste.disliked]
        if any(suggester.knows(film) for film in said):
            self._remark(suggester.model)
        elif path := arguments.profile or arguments.ratings:
            raise CommandError(
                f"{path} holds no film that you liked or disliked and that the model knows: name "
                "films beside it, or answer with --session"
            )
        else:
            seed = self.arguments.seed
            self.seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
            self.taste = Taste(draw_films(self.source, self.seed)) | self.taste
        reply = self._reply(self.taste, suggester.suggest(self.taste, wishes))
        self.show(as_json(reply) if self.arguments.json else as_text(reply, style_of()))

    def _remark(self, model: Recommender) -> None:
        if self.arguments.seed is not None:
            self.note("--seed only draws random films, and has no effect beside named ones")
        count = len(self.taste.liked)
        if count > model.memory:
            self.note(f"the model goes by the last {model.memory} of these {count} films")
        if self.taste.disliked and not model.reads_dislikes:
            self.note(UNREAD)

    def _reply(self, taste: Taste, suggestions: list[Suggestion]) -> Reply:
        return Reply(
            self.source, taste, suggestions, self.seed, self.links, self.notes, self.problems
        )

    def play(self, suggester: Suggester, wishes: Wishes, ask: Ask) -> None:
        from recsys_rl.command.session import Session

        kept = self.answers, self.arguments.profile, self.others, self.more
        session = Session(suggester, wishes, self.taste, *kept)
        session.keep()  # before the first question, where that fails
        if not suggester.model.reads_dislikes:
            self.note(UNREAD)

        def suggestions() -> str:
            return suggested(self._reply(session.taste, session.suggestions()), style_of())

        say = (lambda text: None) if self.arguments.json else self.show
        session.play(ask, say, suggestions, _described)
        last = self._reply(session.taste, session.suggestions())
        self.show(as_json(last) if self.arguments.json else f"\n{suggestions()}")


def _described(suggestion: Suggestion) -> str:
    film = suggestion.film
    return f"{film.label}  {', '.join(film.genres)}".rstrip()


def _can_ask() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _pick(match: Match) -> Film | None:
    """Which of several films is meant, asked on stderr."""
    say(f"Which film is {match.text!r}?")
    for number, film in enumerate(match.choices, 1):
        say(f"  {number}. {film.label}")
    numbers = {str(number): film for number, film in enumerate(match.choices, 1)}
    for _ in range(PICKS):
        typed = pick_line(f"1 to {len(match.choices)}, or nothing for none of them: ")
        if typed in numbers or not typed:
            return numbers.get(typed)
    return None


def _search(text: str, source: Source, json_wanted: bool) -> str:
    """Films that a text may mean, the likeliest first."""
    index = source.index
    if not key_of(text):
        raise CommandError(f"a search needs letters or digits, not {shortened(text)!r}")
    if len(key_of(text)) < 2 and not index.titled(text):
        raise CommandError(
            f"a search needs two letters or digits at least, not {shortened(text)!r}"
        )
    films = [*index.titled(text), *index.part_titled(text), *index.holding(text)]
    if not films and NEWER in (problem := find(text, index).problem):  # nor what is spelt alike
        raise CommandError(problem)
    films = films or [each.film for each in index.candidates(text) if each.fit >= OFFERED]
    films = list({film.id: film for film in films}.values())
    if json_wanted:
        return json.dumps({"films": [film.as_json() for film in films[:SHOWN]]})
    if not films:
        end = f", which end in {source.last_year}" if source.last_year else ""
        raise CommandError(
            f"no title holds {shortened(text)!r} among the films of {source.dataset}{end}"
        )
    width = max(len(str(film.id)) for film in films[:SHOWN])
    return "\n".join(
        f"{shown(str(film.id)):>{width}}  {film.label}  {', '.join(film.genres)}".rstrip()
        for film in films[:SHOWN]
    )
