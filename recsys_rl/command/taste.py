"""What somebody has said about films."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsys_rl.data.films import Film


@dataclass(frozen=True)
class Taste:
    """What somebody has said, oldest first. seen: not to be suggested, and neither of the two."""

    liked: Sequence[Film] = ()
    disliked: Sequence[Film] = ()
    seen: Sequence[Film] = ()

    @property
    def films(self) -> list[Film]:
        return [*self.liked, *self.disliked, *self.seen]

    def __or__(self, other: Taste) -> Taste:
        """Both, what `other` says last; of two answers about a film the latest counts."""
        parts = []
        for mine, theirs, more in (
            (self.liked, other.liked, [*other.disliked, *other.seen]),
            (self.disliked, other.disliked, [*other.liked, *other.seen]),
            (self.seen, other.seen, [*other.liked, *other.disliked]),
        ):
            again = {film.mark for film in (*theirs, *more)}
            parts.append([*(film for film in mine if film.mark not in again), *theirs])
        return Taste(*parts)
