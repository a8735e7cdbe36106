"""What a student may give by mistake: refused in a sentence, where it would be a wrong number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium.error import ResetNeeded
from toys import SMALL, random_log

from recsys_rl.agent.checkpoint import Checkpoints
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.data.effects import WIDTH, genre_shares
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.splits import rows_of_users, split_holdout_users
from recsys_rl.embeddings.cooccurrence import Cooccurrence
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.embeddings.rating_factors import RatingFactors
from recsys_rl.envs.consequences import Consequence, ConsequencesEnv
from recsys_rl.envs.simulated import SimulatedEnv, Simulator
from recsys_rl.envs.user_leaves import in_turn, lists_far_apart
from recsys_rl.evaluation import protocols
from recsys_rl.evaluation.elicitation import elicitation
from recsys_rl.evaluation.headroom import headroom
from recsys_rl.evaluation.reranking import offline_reranking
from recsys_rl.evaluation.statistics import paired_bootstrap
from recsys_rl.tasks.cold_start import users_of_eighth

NAN, INF = float("nan"), float("inf")


def gen() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def log() -> Interactions:
    return random_log(40, 30)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("popularity", {"min_rating": NAN}),
        ("popularity", {"min_rating": 9.0}),
        ("recent popularity", {"share": NAN}),
        ("recent popularity", {"share": "1"}),
        ("item-kNN", {"min_rating": 9.0}),
        ("item-kNN", {"neighbours": 0}),
        ("item-kNN", {"neighbours": -1}),
        ("item-kNN", {"shrinkage": -100.0}),
        ("EASE", {"regularization": NAN}),
        ("EASE", {"regularization": INF}),
        ("EASE", {"regularization": 0.0}),
        ("EASE", {"min_rating": NAN}),
        ("iALS", {"factors": 0}),
        ("iALS", {"factors": -1}),
        ("iALS", {"iterations": 0}),
        ("iALS", {"alpha": NAN}),
        ("PMF", {"k": 0}),
        ("PMF", {"k": -1}),
        ("PMF", {"l2": -1.0}),
        ("LinUCB", {"ridge": -1.0}),
        ("LinUCB", {"ridge": 0.0}),
        ("LinUCB", {"alpha": NAN}),
        ("HLinUCB", {"rounds": 0}),
        ("HLinUCB", {"hidden": 0}),
        ("HLinUCB", {"item_ridge": 0.0}),
        ("Gaussian of likes", {"k": -1}),
        ("Gaussian of likes", {"k": 2.5}),
        ("Gaussian of likes", {"memory": 0}),
        ("Gaussian of likes", {"memory": -1}),
        ("Gaussian of likes", {"noise": INF}),
    ],
)
def test_settings_that_are_none_are_refused(name: str, settings: dict, log: Interactions) -> None:
    (setting,) = settings
    with pytest.raises(ValueError, match=rf"\b{setting}\b"):
        BASELINES[name](log, **settings)


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "random"])
def test_without_rows_there_is_nothing_to_learn(name: str, log: Interactions) -> None:
    with pytest.raises(ValueError, match="there is no train row to learn from"):
        BASELINES[name](log.select(log.rating > 9))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda log: Cooccurrence(log, 4, gen(), reach=0), "reach is a whole number"),
        (lambda log: Cooccurrence(log, 4, gen(), contexts=-5), "contexts is a whole number"),
        (lambda log: Cooccurrence(log, 0, gen()), "k is a whole number"),
        (lambda log: PMF(40, 30, 4, generator=gen()).fit(log, generator=gen(), epochs=-1), "epoch"),
        (lambda log: RatingFactors.of(log, 0, gen()), "k is a whole number"),
        (lambda log: users_of_eighth(log, 0), "number is a whole number of at least 1"),
        (lambda log: users_of_eighth(log, 9), "number is at most 8"),
        (lambda log: split_holdout_users(log, -0.1, 0), "share is a finite number within 0 .. 1"),
        (lambda log: split_holdout_users(log, NAN, 0), "share is a finite number within 0 .. 1"),
        (lambda log: rows_of_users(log, torch.tensor([-1])), "users are indices within 0 .. 39"),
        (lambda log: rows_of_users(log, torch.tensor([40])), "users are indices within 0 .. 39"),
        (lambda log: offline_reranking(BASELINES["popularity"](log), log, log), "part of its user"),
        (lambda log: genre_shares(log, pd.DataFrame({"item": ["0"], "genres": "War"})), "same typ"),
    ],
)
def test_arguments_of_models_and_splits(
    make: Callable[[Interactions], object], words: str, log: Interactions
) -> None:
    with pytest.raises(ValueError, match=words):
        make(log)


def test_a_target_of_the_history_is_no_random_positive(log: Interactions) -> None:
    negatives = protocols.sample_negatives(log, log.user, n=1)
    with pytest.raises(ValueError, match="a target is part of its user's history"):
        protocols.random_positive_metrics(BASELINES["popularity"](log), log, log, negatives)


def test_a_film_without_genres_has_none(log: Interactions) -> None:
    movies = pd.DataFrame({"item": log.item_ids.ids, "genres": "War"})
    movies.loc[0, "genres"] = None
    shares = genre_shares(log, movies).sum(1)
    assert shares[0] == 0
    assert (shares[1:] == 1).all()


@pytest.mark.parametrize("every", [NAN, -1.0, "60", None, True])
def test_seconds_between_checkpoints_are_a_number(
    every: object, log: Interactions, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="every is a finite number"):
        Checkpoints(tmp_path, "toy", SMALL, log, every=every)


@pytest.mark.parametrize("label", ["", "a/b", "../escaped", 3])
def test_a_label_is_part_of_a_name(label: object, log: Interactions, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="label is a part of a file's name"):
        Checkpoints(tmp_path, label, SMALL, log)


@pytest.mark.parametrize("wrong", [NAN, INF])
def test_a_simulator_has_stars_of_everybody(wrong: float, log: Interactions) -> None:
    with pytest.raises(ValueError, match="finite stars of every user for every item"):
        Simulator.of(lambda h: torch.full((len(h), log.n_items), wrong), log)
    with pytest.raises(ValueError, match="finite stars of every user for every item"):
        Simulator.of(lambda h: torch.ones(len(h), 1), log)


@pytest.mark.parametrize(
    "odd", [{"series": NAN}, {"n_seed": -1}, {"n_seed": 2.5}, {"n_seed": True}]
)
def test_simulated_sessions_are_of_numbers(odd: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(odd))):
        SimulatedEnv(Simulator(torch.ones(2, 5)), **odd)


def test_lists_are_of_everybody_who_is_met(log: Interactions) -> None:
    policy = in_turn(torch.zeros(3, 2, dtype=torch.int64), log.n_items)
    with pytest.raises(ValueError, match="there are lists of 3 users"):
        policy(log.histories(torch.tensor([3])))
    for size in (0, -3):
        with pytest.raises(ValueError, match="size is a whole number"):
            lists_far_apart(torch.ones(1, 4), torch.eye(4, dtype=torch.bool), size=size)


def test_headroom_needs_a_start_numbers_and_counts() -> None:
    stars = Simulator(torch.full((3, 6), 3.0))
    consequence = Consequence(torch.zeros(6, WIDTH), "satisfaction", 0.5)
    env = ConsequencesEnv(stars, consequence, sessions=2, horizon=3)
    with pytest.raises(ResetNeeded, match="call reset before headroom"):
        headroom(env, lambda env: env.rewards())
    env.reset()
    for odd in ({"candidates": 0}, {"candidates": -1}, {"depth": 0}):
        with pytest.raises(ValueError, match=next(iter(odd))):
            headroom(env, lambda env: env.rewards(), **odd)
    with pytest.raises(ValueError, match="rewards of items must be finite"):
        headroom(env, lambda env: torch.full((2, 6), NAN))


@pytest.mark.parametrize(
    "scores",
    [lambda n: torch.full((n, 30), NAN), lambda n: torch.ones(n, 37), lambda n: torch.ones(n, 1)],
)
def test_what_recommends_has_a_score_for_every_item(scores: Callable, log: Interactions) -> None:
    asker = lambda asked: BASELINES["random"](log)  # noqa: E731
    with pytest.raises(ValueError, match="a score below infinity, and no NaN, for every item"):
        elicitation(asker, log, lambda h: scores(len(h)), halves=1)


def test_what_is_never_recommended_earns_nothing(log: Interactions) -> None:
    found = elicitation(
        lambda asked: BASELINES["random"](log),
        log,
        lambda h: torch.full((len(h), log.n_items), -INF),
        halves=1,
    )
    assert found.mean()["precision@10"] == 0


@pytest.mark.parametrize("ours", [np.array([INF, 1.0]), np.ones((2, 1))])
def test_a_difference_is_of_finite_values_of_users(ours: np.ndarray) -> None:
    with pytest.raises(ValueError, match="ours"):
        paired_bootstrap(ours, np.zeros_like(ours))
