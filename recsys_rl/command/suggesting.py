"""From answers about films to suggestions: varied as wished, with a reason and a chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np

from recsys_rl.command.calibration import Calibration
from recsys_rl.command.errors import NothingLeft, first_line
from recsys_rl.command.series import series_of
from recsys_rl.command.sources import Source, damaged
from recsys_rl.command.suggestions import Suggestion, Wishes
from recsys_rl.command.taste import Taste
from recsys_rl.data.films import Film, without_duplicates
from recsys_rl.release_files import BadRelease
from recsys_rl.set_scorer import Answers

FULL = 3  # answers up to which variety counts whole; with more it counts less
T = TypeVar("T")
APART = 3  # suggestions in a row, of which no two are of one series


class Suggester:
    """The agent of a source, for one person after the other."""

    def __init__(self, source: Source) -> None:
        self.source, self.model = source, source.model
        self.places = {item: place for place, item in enumerate(source.items)}

    @cached_property
    def calibration(self) -> Calibration:
        return Calibration(self.model)

    def knows(self, film: Film) -> bool:
        """Whether the model has learned anything about a film."""
        return film.id in self.places

    def suggest(self, taste: Taste, wishes: Wishes) -> list[Suggestion]:
        """The k best films, best first: none that was named, no film twice.

        Raises CommandError where there are not so many, or where the weights are damaged.
        """
        try:
            scores = self._scores([taste])[0]
            films = self._chosen(scores, taste, wishes)
            return self._explained(films, scores, taste)
        except BadRelease as error:
            folder = self.source.folder
            raise damaged(f"{folder} cannot answer: {first_line(error)}") from error

    def question(self, taste: Taste, wishes: Wishes) -> Suggestion | None:
        """The fitting film whose answer says most about somebody of whom little is known.

        None where none is left, or where the agent has no Gaussian of likes.
        """
        films = [self.source.films[item] for item in self.source.items]
        taken = {film.mark for film in taste.films}
        askable = np.array([wishes.fits(film) and film.mark not in taken for film in films])
        if not askable.any():
            return None
        try:
            answers = Answers(self._index(taste.liked), self._index(taste.disliked))
            place = self.model.next_question(answers, askable)
            if place is None:
                return None
            return self._explained([films[place]], self._scores([taste])[0], taste)[0]
        except BadRelease as error:
            raise damaged(f"{self.source.folder} cannot answer: {first_line(error)}") from error

    def _scores(self, tastes: Sequence[Taste]) -> np.ndarray:
        """float32 [len(tastes), n_items]"""
        return self.model.scores_of(
            [Answers(self._index(taste.liked), self._index(taste.disliked)) for taste in tastes]
        )

    def _index(self, films: Iterable[Film]) -> list[int]:
        return [self.places[film.id] for film in films if self.knows(film)]

    def _chosen(self, scores: np.ndarray, taste: Taste, wishes: Wishes) -> list[Film]:
        count = len(taste.liked) + len(taste.disliked)
        adventure = wishes.adventure
        if adventure is None:
            adventure = self.calibration.adventure
        if adventure:
            scores = scores - adventure * fading(count) * self.calibration.mean_scores
        films = [self.source.films[self.source.items[place]] for place in np.argsort(-scores)]
        taken = {film.mark for film in taste.films}
        fitting = without_duplicates(film for film in films if wishes.fits(film))
        left = [film for film in fitting if film.mark not in taken]
        if wishes.k > len(left):
            raise NothingLeft(
                f"--k {wishes.k} is too large: give at most {len(left)}, as many films as are left "
                "to suggest"
                if left
                else f"no film is left to suggest: {self._others()}",
                len(left),
            )
        return left[: wishes.k] if wishes.series else apart(left, wishes.k, series_of)

    def _others(self) -> str:
        dataset, last = self.source.dataset, self.source.last_year
        if last is None:
            return f"ask for other genres, and for no years: no film of {dataset} has one"
        return f"ask for other genres or years (the films of {dataset} end in {last})"

    def _explained(self, films: list[Film], scores: np.ndarray, taste: Taste) -> list[Suggestion]:
        """With the liked film without which the score would be lowest."""
        places = self._index(films)
        because: list[Film | None] = [None] * len(films)
        liked = [film for film in taste.liked if self.knows(film)][-self.model.memory :]
        if liked:
            without = [
                Taste([other for other in liked if other is not film], taste.disliked)
                for film in liked
            ]
            left_out = self._scores(without)[:, places]  # (len(liked), k)
            because = [liked[place] for place in left_out.argmin(0)]
        count = len(taste.liked) + len(taste.disliked)
        return [
            Suggestion(
                film, float(scores[place]), why, self.calibration.chance(scores[place], count)
            )
            for film, place, why in zip(films, places, because, strict=True)
        ]


def fading(n_answers: int) -> float:
    """How much variety counts after so many answers: with a long history it would cost."""
    return min(1.0, FULL / max(1, n_answers))


def apart(items: Sequence[T], k: int, series: Callable[[T], object]) -> list[T]:
    """The k first, but of three in a row no two are of one series, as long as there are others."""
    left, chosen, recent = list(items), [], []
    while len(chosen) < k:
        item = next((item for item in left if series(item) not in recent), left[0])
        left.remove(item)
        chosen.append(item)
        recent = [*recent, series(item)][-(APART - 1) :]
    return chosen
