"""What a student may give by mistake: refused in a sentence, where it would be a wrong number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium.error import ResetNeeded
from toys import SMALL, log_of, random_log

from recsys_rl.agent.checkpoint import Checkpoints
from recsys_rl.baselines.asking import KnowledgeGradient
from recsys_rl.baselines.asking_tree import QuestionTree
from recsys_rl.baselines.linucb import LinUCB
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.data.effects import WIDTH, genre_shares
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions, fingerprint
from recsys_rl.data.splits import after_a_pause, rows_of_users, split_holdout_users
from recsys_rl.embeddings.cautious_means import cautious_means
from recsys_rl.embeddings.cooccurrence import Cooccurrence
from recsys_rl.embeddings.like_posterior import LikeGaussian
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.embeddings.rating_factors import RatingFactors, posterior_mean
from recsys_rl.envs.base import best_item
from recsys_rl.envs.consequences import Consequence, ConsequencesEnv
from recsys_rl.envs.logged import LoggedEnv
from recsys_rl.envs.rating_models import NeighbourRatings
from recsys_rl.envs.simulated import SimulatedEnv, Simulator
from recsys_rl.envs.user_leaves import LeavingWorld, in_turn, lists_far_apart
from recsys_rl.evaluation import protocols, statistics
from recsys_rl.evaluation.calibration import discounted_returns
from recsys_rl.evaluation.elicitation import elicitation
from recsys_rl.evaluation.headroom import headroom
from recsys_rl.evaluation.metrics import (
    hit_rate,
    list_statistics,
    ndcg,
    rank_counts,
    sampled_metrics,
)
from recsys_rl.evaluation.reranking import offline_reranking
from recsys_rl.evaluation.sessions import simulated_sessions
from recsys_rl.evaluation.statistics import Evaluation, hierarchical_bootstrap, paired_bootstrap
from recsys_rl.next_question import next_question
from recsys_rl.serving import _some
from recsys_rl.set_scorer import Answers, check_answers
from recsys_rl.tasks.cold_start import users_of_eighth
from recsys_rl.tasks.registry import task_of

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
        ("iALS", {"alpha": 1e30}),
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
    with pytest.raises(ValueError, match="only parts that share no row go together"):
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


def test_a_label_leaves_room_in_a_files_name(log: Interactions, tmp_path: Path) -> None:
    for label in ("long" * 51, "\N{SNOWMAN}" * 67):
        with pytest.raises(ValueError, match="200 bytes of it: give the data set a shorter name"):
            Checkpoints(tmp_path, label, SMALL, log)
    kept = Checkpoints(tmp_path, "long" * 50, SMALL, log)
    with kept.open():
        kept.save({}, {"update": 1})


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


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("shrinkage", (0.0, -1.0, NAN)),
        ("power", (0.0, "2")),
        ("damping", (0.0, -0.1, INF)),
        ("item_prior", (0.0, -5.0)),
        ("user_prior", (0.0, NAN)),
        ("neighbours", (0, -1, 1.5)),
        ("batch_size", (0, True)),
    ],
)
def test_neighbours_divide_by_nothing(name: str, values: tuple, log: Interactions) -> None:
    for value in values:
        with pytest.raises(ValueError, match=name):
            NeighbourRatings(log, **{name: value})


def test_a_ridge_that_rounding_swallows_is_too_small() -> None:
    score = LinUCB(torch.ones(30, 4), ridge=1e-40)
    with pytest.raises(ValueError, match="ridge = 1e-40 does not suit the vectors: choose"):
        score(Histories(torch.zeros(1).long(), torch.tensor([[0, 1, 2]]), torch.full((1, 3), 5.0)))


@pytest.mark.parametrize("reads_from", [NAN, 99.0, -1.0, "4", None])
def test_what_is_read_starts_at_some_stars(reads_from: object, log: Interactions) -> None:
    with pytest.raises(ValueError, match="reads_from is a finite number within 0 .. 5"):
        LoggedEnv(log, reads_from=reads_from)


@pytest.mark.parametrize("depth", [0, -3, NAN, 2.0, True])
def test_a_tree_has_a_depth(depth: object, log: Interactions) -> None:
    with pytest.raises(ValueError, match="depth is a whole number"):
        QuestionTree.fit(log, torch.arange(log.n_items) < 9, depth)


def test_a_tree_asks_about_some_items_and_no_deeper_than_there_are(log: Interactions) -> None:
    for asked in (torch.zeros(log.n_items).bool(), torch.ones(3).bool(), torch.arange(9)):
        with pytest.raises(ValueError, match=r"asked is bool \[30\]"):
            QuestionTree.fit(log, asked, 2)
    tree = QuestionTree.fit(random_log(400, 12), torch.arange(12) < 2, 6)
    assert set(tree.item.tolist()) == {0, 1}


def test_questions_are_chosen_among_some(log: Interactions) -> None:
    gaussian = LikeGaussian.fit(log, 4)
    for odd in ({"candidates": 0}, {"candidates": NAN}, {"leaders": -1}):
        with pytest.raises(ValueError, match=next(iter(odd))):
            KnowledgeGradient(gaussian, **odd)


def test_a_consequence_is_of_the_films_of_the_simulator() -> None:
    stars = Simulator(torch.full((3, 6), 3.0))
    with pytest.raises(ValueError, match="is of 5 films and the simulator of 6: make both of the"):
        ConsequencesEnv(stars, Consequence(torch.zeros(5, WIDTH)))
    with pytest.raises(ValueError, match="films are"):
        Consequence(torch.zeros(6, 2))


def test_a_world_is_of_one_catalogue() -> None:
    user, item, close = torch.ones(5, 2), torch.ones(9, 2), torch.zeros(9, 9).bool()
    LeavingWorld(user, item, close, torch.arange(9))
    for odd in (
        (user, item, close[:4], torch.arange(9)),
        (user, item, close, torch.arange(4)),
        (user[:, :1], item, close, torch.arange(9)),
        (user, item[0], close, torch.arange(9)),
    ):
        with pytest.raises(ValueError, match=r"close \[V, V\] and items \[V\], not"):
            LeavingWorld(*odd)
    with pytest.raises(ValueError, match="close is bool, not torch.float32"):
        LeavingWorld(user, item, close.float(), torch.arange(9))


def test_nobody_is_evaluated_twice() -> None:
    with pytest.raises(ValueError, match="every user is evaluated once"):
        Evaluation("p", {"hit@3": np.ones(3)}, torch.tensor([4, 2, 4]))
    stars = Simulator(torch.full((3, 6), 3.0))
    with pytest.raises(ValueError, match="every user is evaluated once"):
        simulated_sessions(stars.score, stars, torch.tensor([1, 1]), steps=2, known=True)


def test_a_log_and_itself_are_no_two_parts(log: Interactions) -> None:
    first = log.select(torch.arange(len(log)) < 7)
    with pytest.raises(ValueError, match="7 ratings of the same users for the same items are in"):
        log.concat(first)


def test_resamples_are_drawn_in_parts_when_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((4, 50))
    groups = [row[: 20 + number] for number, row in enumerate(values)]
    calls = [
        lambda: hierarchical_bootstrap(values, n_boot=300),
        lambda: hierarchical_bootstrap(groups, n_boot=300),
        lambda: paired_bootstrap(values[0], values[1], n_boot=300),
    ]
    whole = [call() for call in calls]
    monkeypatch.setattr(statistics, "AT_ONCE", 1000)
    for expected, call in zip(whole, calls, strict=True):
        assert call()[:3] == pytest.approx(expected[:3], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("liked", [[-1], [30], [2, 2], [1.0], ["1"]])
def test_answers_are_indices_of_items(liked: list, log: Interactions) -> None:
    for rejected in ([], [3]):
        with pytest.raises(ValueError, match=r"within 0 .. 29|once|indices of items"):
            check_answers([Answers([4]), Answers(liked, rejected)], 30)
    with pytest.raises(ValueError, match="once"):
        check_answers([Answers([4], [4])], 30)


@pytest.mark.parametrize("mask", [np.ones(4, bool), np.ones(30), np.arange(30), [1] * 30])
def test_masks_are_of_all_items(mask: object) -> None:
    vectors = np.ones((30, 3))
    for name in ("askable", "recommendable"):
        with pytest.raises(ValueError, match=r"a mask is bool \[30\]"):
            next_question(vectors, np.ones(30), **{name: mask})


@pytest.mark.parametrize("k", [0, -1, 2.5, NAN])
def test_a_list_has_a_length(k: object) -> None:
    counts = torch.tensor([0, 3]), torch.tensor([1, 0])
    for metric in (hit_rate, ndcg):
        with pytest.raises(ValueError, match="k is a whole number of at least 1"):
            metric(*counts, k)


def test_figures_that_shrink_returns_and_means_are_no_others(log: Interactions) -> None:
    for gamma in (NAN, 1.5, -0.1):
        with pytest.raises(ValueError, match="gamma is a finite number within 0 .. 1"):
            discounted_returns(torch.ones(1, 3), gamma)
    for caution in (NAN, -1.0):
        with pytest.raises(ValueError, match="caution is a finite number"):
            cautious_means(log, caution)
    with pytest.raises(ValueError, match="noise is a finite number above 0"):
        posterior_mean(torch.ones(1, 2, 3), torch.ones(1, 2), torch.ones(3), torch.eye(3), 0.0)


def test_the_latest_none_are_none() -> None:
    histories = Histories(torch.zeros(1).long(), torch.tensor([[3, 4]]), torch.ones(1, 2))
    assert [histories.last(n).item.tolist() for n in (0, 1, 5)] == [[[]], [[4]], [[3, 4]]]


def test_what_an_environment_tells_is_not_what_it_plays_with() -> None:
    stars = Simulator(torch.tensor([[5.0, 1.0, 3.0, 4.0, 2.0]]))
    env = SimulatedEnv(stars, sessions=1, horizon=3, n_seed=1, reward=lambda s: s.sub_(3))
    env.reset(seed=0)
    saved = env.state_dict()
    kept = {name: value.clone() for name, value in saved.items() if isinstance(value, torch.Tensor)}
    histories, reward, _, _, info = env.step(best_item(torch.arange(5.0)[None], env.excluded))
    assert info["rating"].item() == histories.rating[0, -1].item() == reward.item() + 3
    assert all(torch.equal(saved[name], value) for name, value in kept.items())


def test_scores_are_the_callers_own(log: Interactions) -> None:
    for name in BASELINES:
        score, histories = BASELINES[name](log), log.histories(torch.tensor([0, 1]))
        first = score(histories)
        score(histories).fill_(-INF)
        if name != "random":
            assert torch.equal(score(histories), first)


def test_rows_that_are_out_of_order_or_of_other_indices_are_no_log(log: Interactions) -> None:
    whole = {name: getattr(log, name) for name in ("user", "item", "rating", "timestamp")}
    ids = log.user_ids, log.item_ids
    for changes, words in (
        ({"user": log.user.flip(0)}, "rows are in the order of users, and of their times"),
        ({"timestamp": -log.timestamp}, "rows are in the order of users, and of their times"),
        ({"item": log.item + 30}, "items are within 0 .. 29, not"),
        ({"user": log.user - 1}, "users are within 0 .. 39, not -1"),
        ({"rating": log.rating.double()}, r"rating is float32 \[N\], not"),
        ({"item": log.item[:-1]}, "user, item and timestamp are int64"),
    ):
        with pytest.raises(ValueError, match=words):
            Interactions(*(whole | changes).values(), *ids)


def test_histories_begin_at_some_stars_and_have_a_length(log: Interactions) -> None:
    for odd in ({"min_rating": NAN}, {"min_rating": "4"}, {"length": -1}, {"length": 0}):
        with pytest.raises(ValueError, match=next(iter(odd))):
            log.histories(torch.tensor([0]), **odd)


def test_a_score_that_is_no_number_beats_nobody_and_is_beaten_by_none() -> None:
    scores = torch.tensor([[NAN, 1.0, 2.0], [3.0, NAN, 2.0]])
    greater, ties = rank_counts(scores, torch.tensor([0, 0]), torch.ones(2, 3).bool())
    assert hit_rate(greater, ties, 1).tolist() == [0.0, 0.0]
    assert hit_rate(greater, ties, 2).tolist() == [0.0, 1.0]
    found = sampled_metrics(
        scores, torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([[1, 2], [1, 2]]), 1
    )
    assert found["sampled_hr@1"].tolist() == [0.0, 0.0]


def test_lists_of_bytes_are_lists_of_items() -> None:
    counts, lists = torch.tensor([5, 3, 1]), torch.tensor([[0, 1], [1, 2]])
    assert list_statistics(lists.byte(), counts) == list_statistics(lists, counts)


@pytest.mark.parametrize("wrong", [NAN, INF])
def test_worlds_are_of_numbers(wrong: float) -> None:
    with pytest.raises(ValueError, match="films hold NaN or infinite numbers"):
        Consequence(torch.full((6, WIDTH), wrong))
    vectors, far = torch.full((3, 2), wrong), torch.zeros(3, 3).bool()
    with pytest.raises(ValueError, match="users or items hold NaN or infinite numbers"):
        LeavingWorld(vectors, vectors, far, torch.arange(3))


def test_checkpoints_tell_other_validation_rows_apart() -> None:
    log = random_log(60, 40)
    last = (
        log.offsets[1:][log.offsets.diff() >= 3] - 1
    )  # the test row and the one before it change places
    other = replace(log, item=log.item.clone())
    other.item[last], other.item[last - 1] = log.item[last - 1], log.item[last]
    one, two = (task_of(each, "leave-one-out") for each in (log, other))
    assert fingerprint(one.train) == fingerprint(two.train)
    assert one.mark != two.mark
    assert task_of(log, "leave-one-out").mark == one.mark


def test_long_lists_are_not_shown_whole() -> None:
    assert _some([1, 2]) == "[1, 2]"
    assert _some(list(range(1000))) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] and 990 more"


@pytest.mark.parametrize("share", [1e-4, 0.9999])
def test_a_share_that_holds_nobody_out_is_told(share: float, log: Interactions) -> None:
    with pytest.raises(ValueError, match=rf"a share of {share:g} of 40 users is (0|40): some must"):
        split_holdout_users(log, share, seed=0)


def test_a_pause_may_be_longer_than_a_number() -> None:
    log = log_of([(0, 0, 4.0), (0, 1, 4.0), (0, 2, 4.0)], 1, 3)
    far = replace(log, timestamp=torch.tensor([-(2**62) - 5, -(2**62) - 4, 2**62 + 5]))
    assert after_a_pause(far).test.item.tolist() == [2]
