"""How varied and how right the command's suggestions are, and how sure: one table a release.

    python -m benchmarks.variety --dataset ml-1m

The score of a film less `adventure` times its mean score over random triples of well-known films:
for a row of values, the share of suggestions that validation users liked (precision@3, hit@3), and
how many different films the command suggests over the seeds 0 to 999, in blocks of 100. The default
is chosen on validation users: of the values that cost no precision the most precise one with at
least 50 different films, or where none has so many the largest. Then the test users, and for ml-1m
the users of ml-latest-small, are asked once about no variety and the default. Suggestions are
chosen as the command chooses them: no film twice, no two of a series in three.

Beside them stands EASE, fitted on the same train users, where its settings were chosen for the data
set: how varied the lists of a model are that nobody edits.

How sure: what share of validation users liked a film, given its score and the number of answers.

Writes recsys_rl/command/tables/<dataset>.json, which the command reads for these very weights;
docs/variety-<dataset>.md and the plot beside it. Run it again after every training.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import results
from benchmarks.cross_dataset import of_catalogue
from benchmarks.options import exit_with
from benchmarks.pictures import write_picture
from benchmarks.tune_baselines import groups_of
from benchmarks.variety_page import page, plot, table
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.command.calibration import POPULAR, TABLES, mean_scores
from recsys_rl.command.series import series_of
from recsys_rl.command.suggesting import apart
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.atomic_files import writable, write_atomically
from recsys_rl.data.counts import MOST
from recsys_rl.data.films import read_films, with_all
from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.random_streams import own_stream
from recsys_rl.evaluation.scores import ScoreFunction, batches
from recsys_rl.serving import Recommender

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GRID = (0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8)
VARIED = 50  # different films among 300 suggestions that a default should give
TRIPLES = 2000
K, NAMED = 3, 3
BLOCK = 100  # seeds, whose suggestions are counted together
AMONG = 40  # best films among which the suggestions are chosen
ANSWERS = (1, 3, 10, 30)  # how many films are named, for the chances
# of the curve from score to chance: edges of its parts, as shares of all films by score
EDGES = 1 - np.array([1, 0.5, 0.2, 0.1, 0.05, 0.03, 0.02, 0.014, 0.01, 0.007, 0.005, 0.0035, 0.0024,
                      0.0016, 0.001, 0.0006, 0.0003, 0])  # fmt: skip
GENRES = "Documentary", "Musical", "Animation", "Film-Noir", "Western"


class Catalogue:
    """The films of a release by index, with what tells duplicates and series apart."""

    def __init__(self, model: Recommender, folder: Path) -> None:
        items = model.item_ids.tolist()
        films = with_all(read_films(folder), items)
        self.films = [films[item] for item in items]
        self.label = np.unique([film.label for film in self.films], return_inverse=True)[1]
        self.series = np.unique([series_of(film) for film in self.films], return_inverse=True)[1]

    def chosen(self, scores: Tensor, named: Tensor, series: bool = False) -> Tensor:
        """The K suggestions for every row of scores [B, V], none of those named -> int64 [B, K].

        series: they may be of one series.
        """
        order = scores.topk(AMONG).indices.numpy()
        rows = []
        for best, taken in zip(order, named.numpy(), strict=True):
            labels, left = set(self.label[taken]), []
            for place in best.tolist():
                if self.label[place] not in labels:
                    labels.add(self.label[place])
                    left.append(place)
            rows.append(left[:K] if series else apart(left, K, self.series.__getitem__))
        return torch.tensor(rows)


class Rival(NamedTuple):
    """Another model in the place of a release."""

    score: ScoreFunction
    n_users: int
    config: dict[str, Any]


def scores_of(model: Recommender | Rival, named: Tensor) -> Tensor:
    """Scores for unknown users who like these items int64 [B, n] -> float32 [B, V]."""
    stars = torch.full(named.shape, POSITIVE)
    return model.score(Histories(torch.full((len(named),), model.n_users), named, stars))


def drawn(likes: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n random likes of every row bool [B, V] -> int64 [B, n]."""
    return torch.rand(likes.shape, generator=generator).masked_fill_(~likes, -1).topk(n).indices


def liked_by(users: Interactions, least: int) -> list[Tensor]:
    """Likes bool [B, V] of those who have at least so many, in batches."""
    liked = users.select(users.rating >= POSITIVE)
    eligible = (liked.offsets.diff() >= least).nonzero().squeeze(1)
    return [liked.mask_of(batch) for batch in batches(eligible, 256)]


def default_of(frontier: Sequence[dict[str, float]]) -> float:
    """The value of `adventure` that the command takes; frontier: no variety first."""
    enough = frontier[0]["precision@3"]
    free = [row for row in frontier if row["precision@3"] >= enough]
    varied = [row for row in free if row["films"] >= VARIED]
    best = max(varied, key=lambda row: row["precision@3"]) if varied else free[-1]
    return best["adventure"]


def precision(
    model: Recommender | Rival,
    catalogue: Catalogue,
    users: Interactions,
    mean: Tensor,
    grid: Sequence[float],
    draws: int,
    series: bool = False,
) -> list[dict[str, float]]:
    """precision@3 and hit@3 for every value of `adventure`; the users name three films they like,
    the same ones for every value."""
    generator, found = own_stream(0, "seeds"), {value: [] for value in grid}
    for likes in liked_by(users, NAMED + K):
        for _ in range(draws):
            named = drawn(likes, NAMED, generator)
            scores = scores_of(model, named)
            for value in grid:
                top = catalogue.chosen(scores - value * mean, named, series)
                found[value].append(likes.gather(1, top).sum(1))
    rows = []
    for value in grid:
        hits = torch.cat(found[value]).double()
        rows.append({
            "adventure": value,
            "precision@3": float(hits.mean() / K),
            "hit@3": float((hits > 0).double().mean()),
        })  # fmt: skip
    return rows


def different(
    model: Recommender | Rival,
    catalogue: Catalogue,
    mean: Tensor,
    grid: Sequence[float],
    seeds: int,
) -> list[dict[str, float]]:
    """Films of 300 over 100 seeds of the command, and the share of the 20 most frequent; seeds: a
    multiple of 100."""
    likes = np.array(model.config["positive_counts"])
    pool = np.argsort(-likes, kind="stable")[:POPULAR].tolist()
    named = torch.tensor([random.Random(seed).sample(pool, NAMED) for seed in range(seeds)])
    scores, rows = scores_of(model, named), []
    for value in grid:
        top = catalogue.chosen(scores - value * mean, named).view(-1, BLOCK * K)
        counts = [np.sort(np.bincount(block)) for block in top.numpy()]
        rows.append({
            "films": float(np.mean([(block > 0).sum() for block in counts])),
            "top20": float(np.mean([block[-20:].sum() / (BLOCK * K) for block in counts])),
        })  # fmt: skip
    return rows


def ease(
    dataset: str,
    train: Interactions,
    model: Recommender,
    catalogue: Catalogue,
    users: Interactions,
    options: argparse.Namespace,
) -> dict[str, object] | None:
    """The row of EASE in the table of the frontier; None where its settings were not chosen."""
    settings = results.tuned(dataset, "seed-and-suggest").get("EASE")
    if settings is None:
        return None
    rival = Rival(BASELINES["EASE"](train, **settings), model.n_users, model.config)
    none = torch.zeros(train.n_items)
    (right,) = precision(rival, catalogue, users, none, [0.0], options.draws)
    (films,) = different(rival, catalogue, none, [0.0], options.seeds)
    return right | films | {"adventure": "EASE"}


def in_genre(
    model: Recommender, catalogue: Catalogue, mean: Tensor, grid: Sequence[float], draws: int = 200
) -> dict[str, list[float]]:
    """Share of the suggestions that are of the genre of which three films were named, which are
    among the 40 most liked of it."""
    likes, rng = np.array(model.config["positive_counts"]), np.random.default_rng(0)
    found = {}
    for genre in GENRES:
        of_it = np.array([genre in film.genres for film in catalogue.films])
        known = np.argsort(-likes * of_it, kind="stable")[: min(40, of_it.sum())]
        if len(known) < 10:
            continue
        named = torch.tensor(np.array([rng.choice(known, NAMED, False) for _ in range(draws)]))
        scores = scores_of(model, named)
        tops = [catalogue.chosen(scores - value * mean, named) for value in grid]
        found[genre] = [float(of_it[top.numpy()].mean()) for top in tops]
    return found


# ------------------------------------------------------------------------------ how sure


def chances(
    model: Recommender, catalogue: Catalogue, users: Interactions, draws: int = 4
) -> list[dict[str, object]]:
    """For several numbers of answers, scores and the share of users who liked a film of that
    score, among all films that they had not named; shares do not fall with the score."""
    generator, rows = own_stream(0, "chances"), []
    for n in ANSWERS:
        scores, liked = [], []
        for likes in liked_by(users, n + K):
            for _ in range(draws):
                named = drawn(likes, n, generator)
                left = torch.ones_like(likes).scatter_(1, named, False)
                scores.append(scores_of(model, named)[left])
                liked.append(likes[left])
        x, y = torch.cat(scores).double().numpy(), torch.cat(liked).double().numpy()
        order = np.argsort(x)
        cuts = [slice(a, b) for a, b in pairwise(np.rint(EDGES * len(x)).astype(int))]
        points = [(x[order][cut].mean(), y[order][cut].mean()) for cut in cuts]
        shares = rising([share for _, share in points])
        rows.append({
            "answers": n,
            "scores": [round(float(score), 3) for score, _ in points],
            "shares": [round(share, 3) for share in shares],
        })  # fmt: skip
    return rows


def rising(values: Sequence[float]) -> list[float]:
    """The closest values that do not fall: neighbours that do are put together (isotonic)."""
    blocks: list[list[float]] = []  # mean and size
    for value in values:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, size = blocks.pop()
            before, count = blocks.pop()
            blocks.append([(mean * size + before * count) / (size + count), size + count])
    return [float(mean) for mean, size in blocks for _ in range(int(size))]


def reliability(
    model: Recommender, catalogue: Catalogue, users: Interactions, curve: list, mean: Tensor, value
) -> list[dict[str, object]]:
    """For the suggestions that users get who name three films: what is told, what was liked."""
    generator = own_stream(1, "seeds")
    told, liked = [], []
    at = next(row for row in curve if row["answers"] == NAMED)
    for likes in liked_by(users, NAMED + K):
        for _ in range(5):
            named = drawn(likes, NAMED, generator)
            scores = scores_of(model, named)
            top = catalogue.chosen(scores - value * mean, named)
            told.append(np.interp(scores.gather(1, top).numpy(), at["scores"], at["shares"]))
            liked.append(likes.gather(1, top).numpy())
    told, liked = np.concatenate(told).ravel(), np.concatenate(liked).ravel()
    tenth = np.minimum((told * 10).astype(int), 9)
    return [
        {"told": float(told[tenth == t].mean()), "liked": float(liked[tenth == t].mean()),
         "suggestions": int((tenth == t).sum())}
        for t in np.unique(tenth)
    ]  # fmt: skip


def blocks_of_seeds(text: str) -> int:
    """The type of an option that is a number of seeds, in whole blocks."""
    number = whole_number(BLOCK, MOST)(text)
    if number % BLOCK:
        raise argparse.ArgumentTypeError(
            f"must be a multiple of {BLOCK}, since films are counted in blocks of so many seeds, "
            f"not {number}"
        )
    return number


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=ROOT / "data")
    parser.add_argument(
        "--draws", type=whole_number(1, MOST), default=10, help="of the films named, for each user"
    )
    parser.add_argument("--seeds", type=blocks_of_seeds, default=1000)
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    name = options.dataset
    writable(TABLES, DOCS)
    model = Recommender.load(ROOT / "models" / name)
    catalogue = Catalogue(model, options.root / name)
    ratings = load_ratings(options.root / name)
    known = ratings["item"].isin(model.item_ids)  # a release may leave out films of few ratings
    data = Interactions.from_ratings(ratings[known])
    train, validation, test = groups_of(data, seed=0)
    groups = {"test users": test}
    if name == "ml-1m" and (options.root / "ml-latest-small").is_dir():
        ratings = load_ratings(options.root / "ml-latest-small", check_counts=False)
        groups["users of ml-latest-small"] = of_catalogue(ratings, data.item_ids)
    mean = torch.from_numpy(mean_scores(model, TRIPLES))

    films = different(model, catalogue, mean, GRID, options.seeds)
    right = precision(model, catalogue, validation, mean, GRID, options.draws)
    frontier = [a | b for a, b in zip(right, films, strict=True)]
    print(table(frontier), flush=True)
    rival = ease(name, train, model, catalogue, validation, options)
    chosen = default_of(frontier)

    pair = sorted({0.0, chosen})
    judged = [
        {"users": group, "series": "allowed" if series else "kept apart"} | row
        for group, users in groups.items()
        for series in (True, False)
        for row in precision(model, catalogue, users, mean, pair, 2 * options.draws, series)
    ]
    print(table(judged), flush=True)
    shares = in_genre(model, catalogue, mean, pair)
    genres = [
        {"genre": genre} | {f"adventure {v:g}": s for v, s in zip(pair, each, strict=True)}
        for genre, each in shares.items()
    ]
    print(table(genres), flush=True)
    curve = chances(model, catalogue, validation)
    sure = reliability(model, catalogue, test, curve, mean, chosen)
    print(table(sure), flush=True)

    kept = {
        "weights_sha256": model.config["weights_sha256"],
        "made_by": f"python -m benchmarks.variety --dataset {name}",
        "adventure": chosen,
        "chances": curve,
        "mean_scores": [round(float(score), 3) for score in mean],
    }
    text = json.dumps(kept).replace('"chances": [', '"chances": [\n').replace("}, {", "},\n{")
    write_atomically(TABLES / f"{name}.json", f"{text}\n".encode())
    write_picture(plot(frontier, chosen, rival), DOCS / f"variety-{name}.png", dpi=100)
    text = page(name, frontier, rival, judged, genres, sure)
    write_atomically(DOCS / f"variety-{name}.md", text.encode())


if __name__ == "__main__":
    exit_with(main)
