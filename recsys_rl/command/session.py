"""A session: film by film, each chosen by what was learned from the answers before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from recsys_rl.command.errors import NothingLeft
from recsys_rl.command.keyboard import END, Ask
from recsys_rl.command.profiles import (
    LIKE,
    NO,
    SEEN_LIKED,
    SEEN_NOT,
    SKIP,
    Answer,
    Row,
    refuse_changed,
    taste_of,
    write_profile,
)
from recsys_rl.command.suggesting import Suggester, Suggestion, Wishes
from recsys_rl.command.taste import Taste
from recsys_rl.data.films import Film
from recsys_rl.data.notes import shown

PROMPT = "like [l], no [n], seen and liked [s], seen and not [d], skip [k], more [m]? "
HELP = """  l  like: you would like to see it        s  you have seen it, and liked it
  n  no: it is not for you                 d  you have seen it, and did not like it
  k  skip: no answer                       u  undo the last answer
  r  show suggestions now                  q  stop, and show suggestions"""
QUESTIONS = 5  # that are asked to learn most, where nothing is known at first
STOP, SHOW, UNDO, MORE = "stop", "show", "undo", "more"
_KEYS = {"l": LIKE, "n": NO, "s": SEEN_LIKED, "d": SEEN_NOT, "k": SKIP, " ": SKIP, "": SKIP}
_KEYS |= {"y": LIKE, "q": STOP, END: STOP, "r": SHOW, "u": UNDO, "m": MORE, "?": MORE, "h": MORE}
_KEYS |= {kind: kind for kind in (LIKE, NO, SEEN_LIKED, SEEN_NOT, SKIP, STOP, SHOW, UNDO, MORE)}
_KEYS |= {"yes": LIKE, "liked": SEEN_LIKED, "seen liked": SEEN_LIKED, "seen it, liked": SEEN_LIKED}
_KEYS |= {"disliked": SEEN_NOT, "seen not": SEEN_NOT, "seen it, not": SEEN_NOT, "help": MORE}
_KEYS |= {"quit": STOP, "exit": STOP, "end": STOP, "suggestions": SHOW, "enter": SKIP}

Say = Callable[[str], None]


def meaning(text: str) -> str | None:
    """What a key or a line says; None for what is no answer."""
    typed = " ".join(text.casefold().split())
    return _KEYS.get(text.casefold(), _KEYS.get(typed))


@dataclass
class Session:
    """answers: what was said so far, oldest first. start: what was known before. profile: the file
    in which all answers are kept. others, more: what else stands there, as in `Profile`."""

    suggester: Suggester
    wishes: Wishes
    start: Taste = field(default_factory=Taste)
    answers: list[Answer] = field(default_factory=list)
    profile: Path | None = None
    others: Sequence[Row] = ()
    more: Row = field(default_factory=dict)
    kept: bytes = b""  # what was written into the profile last

    @property
    def taste(self) -> Taste:
        return self.start | taste_of(self.answers)

    def next_film(self) -> Suggestion | None:
        """The film to ask about; None where none is left.

        Where a session starts from nothing, the first ones are those whose answers say most about
        the taste; from then on the best ones.
        """
        if not (self.start.liked or self.start.disliked) and len(self.answers) < QUESTIONS:
            question = self.suggester.question(self.taste, self.wishes)
            if question is not None:
                return question
        try:
            return self.suggester.suggest(self.taste, replace(self.wishes, k=1))[0]
        except NothingLeft:
            return None

    def answer(self, film: Film, kind: str) -> None:
        self.answers.append(Answer(film, kind))
        self.keep()

    def undo(self) -> Film | None:
        """The film whose answer is taken back."""
        if not self.answers:
            return None
        film = self.answers.pop().film
        self.keep()
        return film

    def keep(self) -> None:
        if self.profile is None:
            return
        if self.kept:
            refuse_changed(self.profile, self.kept)
        dataset = self.suggester.source.dataset
        self.kept = write_profile(self.profile, dataset, self.answers, self.others, self.more)

    def suggestions(self) -> list[Suggestion]:
        """As many as are asked for, or as are left."""
        try:
            return self.suggester.suggest(self.taste, self.wishes)
        except NothingLeft as error:
            if not error.left:
                return []
            return self.suggester.suggest(self.taste, replace(self.wishes, k=error.left))

    def play(
        self,
        ask: Ask,
        say: Say,
        show: Callable[[], str],
        describe: Callable[[Suggestion], str],
    ) -> None:
        """Asks until somebody stops. show: suggestions as text; describe: a film as text."""
        say(self._opening())
        while (suggestion := self.next_film()) is not None:
            film = suggestion.film
            say(f"\n{len(self.answers) + 1}. {describe(suggestion)}")
            while (said := meaning(ask(PROMPT))) in (None, MORE, SHOW):
                say(show() if said == SHOW else HELP)
            if said == STOP:
                return
            if said == UNDO:
                undone = self.undo()
                say(f"taken back: {undone.label}" if undone else "there is no answer to take back")
            else:
                self.answer(film, said)
        say("\nNo film is left to ask about.")

    def _opening(self) -> str:
        count = len(self.answers)
        there = "1 answer is" if count == 1 else f"{count} answers are"
        known = f"{there} there; it goes on." if count else ""
        if self.profile is None:
            kept = "Answers are not kept: --profile FILE keeps them."
        else:
            kept = f"Every answer is kept in {shown(str(self.profile))}."
        return " ".join(filter(None, [known, kept, "m shows what can be answered."]))
