"""What a session does to its user, and what of a film does it: how much of a blockbuster it is, and
its genres. Environments and agents read both by the same formulas.

B = batch, H = length of a history, V = n_items, G = genres. Index V is padding.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions

OTHER_NAMES = {"Children": "Children's"}  # of later sets
# of MovieLens; other names count as none
GENRES = (
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
WIDTH = 1 + len(GENRES)  # numbers that describe a film, and a session's effect on its user
MEMORY = 0.9  # of an effect is left after a step
PUSH = 0.2  # of a film on satisfaction


def blockbusters(data: Interactions) -> Tensor:
    """c: the rank of a film's number of ratings, 0 for the fewest, 1 for the most -> float32 [V].

    Films with as many ratings share the middle of their ranks.
    """
    counts = pd.Series(torch.bincount(data.item, minlength=data.n_items).cpu().numpy())
    there = data.item.device
    ranks = torch.tensor(counts.rank().to_numpy(), dtype=torch.float32, device=there)
    return (ranks - 1) / max(1, data.n_items - 1)


def genre_shares(data: Interactions, movies: pd.DataFrame) -> Tensor:
    """Each genre's part of a film, equal parts, 0 where none is known -> float32 [V, G].

    movies: columns item and genres ("Action|Sci-Fi"), as `load_movies` gives them. ValueError where
    it has none of these films: ids of another type are those of other films.
    """
    names = dict(zip(movies["item"], movies["genres"].fillna(""), strict=True))
    if names.keys().isdisjoint(data.item_ids.ids.tolist()):
        raise ValueError("no film of the data is in movies: are their ids of the same type?")
    rows = [
        [genre in _genres(names.get(item, "")) for genre in GENRES]
        for item in data.item_ids.ids.tolist()
    ]
    there = torch.tensor(rows, dtype=torch.float32, device=data.item.device)
    return there / there.sum(1, keepdim=True).clamp(min=1)


def _genres(text: str) -> list[str]:
    return [OTHER_NAMES.get(name, name) for name in text.split("|")]


def described(data: Interactions, movies: pd.DataFrame) -> Tensor:
    """c and the genre shares of every film -> float32 [V, WIDTH]."""
    return torch.cat([blockbusters(data).unsqueeze(1), genre_shares(data, movies)], 1)


def pushes(films: Tensor) -> Tensor:
    """What showing a film adds to an effect: films float32 [..., WIDTH] -> the same shape.

    PUSH (.5 - c) on the satisfaction n, and a tenth of its genres on the decayed shares of genres
    among what was shown.
    """
    return torch.cat([PUSH * (0.5 - films[..., :1]), (1 - MEMORY) * films[..., 1:]], -1)


def effects(histories: Histories, films: Tensor, horizon: int) -> Tensor:
    """n and the shares of genres after what the session has shown -> float32 [B, WIDTH].

    What was known before is not shown: the clock tells how many of the latest films count. films:
    float32 [V, WIDTH].
    """
    table = F.pad(pushes(films), (0, 0, 0, 1))
    steps = torch.arange(histories.item.shape[1], device=histories.item.device)
    age = steps.flip(0)  # 0: the latest
    shown = (histories.clock * horizon).round()
    weight = (MEMORY**age) * (age < shown)  # (B, H)
    return (table[histories.item] * weight.unsqueeze(2)).sum(1)
