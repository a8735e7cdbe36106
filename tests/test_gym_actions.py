"""Every environment takes items and vectors: what they show, what is refused, how it is judged."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from test_consequences import films_of, simulator_of
from test_gym import env_of, users_of, vectors_of
from test_gym_simulated import factors_of
from test_gym_user_leaves import factors_of as places_in
from test_gym_user_leaves import world_of
from torch import Tensor
from toys import mixed_log

from recsys_rl.data.histories import Histories
from recsys_rl.embeddings.like_posterior import LikeGaussian
from recsys_rl.envs import gym_elicitation, gym_simulated, gym_user_leaves, registration
from recsys_rl.envs.base import best_item
from recsys_rl.envs.consequences import Consequence
from recsys_rl.envs.gym_actions import ACTIONS, REACH, nearness, places_of
from recsys_rl.evaluation.scores import ScoreFunction

USERS = users_of()
LOG = mixed_log(60, 40)
GAUSSIAN = LikeGaussian.fit(LOG)
CONSEQUENCE = Consequence(films_of(), "satisfaction", 0.5)
WORLD = world_of()
Make = Callable[..., gymnasium.Env]
MAKE: dict[str, Make] = {
    "cold-start": lambda action: env_of(USERS, action=action, observe="vectors"),
    "user-leaves": lambda action: gym_user_leaves.GymUserLeavesEnv(
        WORLD, places_in(WORLD), action=action
    ),
    "elicitation": lambda action: gym_elicitation.GymElicitationEnv(
        LOG, GAUSSIAN, horizon=5, action=action
    ),
    "simulated": lambda action: gym_simulated.GymSimulatedEnv(
        simulator_of(), CONSEQUENCE, factors_of(), horizon=6, action=action
    ),
}
EACH = pytest.mark.parametrize("name", MAKE)
BOTH = pytest.mark.parametrize("action", ACTIONS)


def judged(name: str, vector: np.ndarray) -> Callable[[Histories], Tensor]:
    """A policy that always emits one vector, in the form that evaluations take."""

    def act(observations: np.ndarray, *_: np.ndarray) -> np.ndarray:
        return np.tile(vector, (len(observations), 1))

    if name == "cold-start":
        return registration.score_function(act, vectors_of(USERS))
    if name == "user-leaves":
        return gym_user_leaves.score_function(act, places_in(WORLD), "vector")
    if name == "elicitation":
        return gym_elicitation.score_function(act, GAUSSIAN, "vector")
    films = CONSEQUENCE.films
    return gym_simulated.score_function(act, factors_of(), films, 6, action="vector")


def latest_of(env: gymnasium.Env) -> int:
    """The item that was shown or asked about last."""
    return int(env.sessions.observation().item[0, -1])


def assert_shown_as_judged(env: gymnasium.Env, score: ScoreFunction, action: object) -> None:
    """At every step of a session the same action shows the best allowed item by `score`."""
    _, info = env.reset(seed=3)
    over = False
    while not over:
        allowed = torch.as_tensor(info["mask"]).unsqueeze(0)
        expected = int(best_item(score(env.sessions.observation()), ~allowed))
        _, _, over, _, info = env.step(action)
        assert latest_of(env) == expected


@EACH
@BOTH
@pytest.mark.filterwarnings("ignore:.*Box observation space .*infinity")
def test_the_checkers_have_nothing_to_say(name: str, action: str) -> None:
    env = MAKE[name](action)
    assert isinstance(env.action_space, spaces.Discrete if action == "item" else spaces.Box)
    check_env(env, skip_render_check=True)
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(env)


@EACH
def test_a_vector_shows_what_its_policy_is_judged_by(name: str) -> None:
    """Of what the mask allows, at every step of a session."""
    env = MAKE[name]("vector")
    vector = np.random.default_rng(1).uniform(-1, 1, env.action_space.shape).astype(np.float32)
    assert_shown_as_judged(env, judged(name, vector), vector)


@EACH
def test_the_mask_says_which_items_are_shown_as_they_are_asked_for(name: str) -> None:
    env = MAKE[name]("item")
    _, info = env.reset(seed=2)
    item = int(np.flatnonzero(info["mask"])[-1])
    env.step(item)
    assert latest_of(env) == item


@pytest.mark.parametrize("name", ["cold-start", "simulated"])
def test_the_next_item_is_shown_for_one_that_may_not_be(name: str) -> None:
    env = MAKE[name]("item")
    _, info = env.reset(seed=2)
    last = len(info["mask"]) - 1
    for item in (0, 0, last, last):
        allowed = np.flatnonzero(info["mask"])
        expected = next((each for each in allowed if each >= item), allowed[0])
        *_, over, _, info = env.step(item)
        assert latest_of(env) == expected
        assert not over


@EACH
def test_other_forms_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"action is one of \('item', 'vector'\), not 'both'"):
        MAKE[name]("both")


def test_scores_of_items_are_taken_as_they_are() -> None:
    scores = np.random.default_rng(0).normal(size=(1, USERS.n_items))
    score = registration.score_function(lambda seen: scores, vectors_of(USERS), "item")
    env = MAKE["cold-start"]("item")
    env.reset(seed=0)
    assert torch.equal(score(env.sessions.observation()), torch.tensor(scores).float())


@pytest.mark.parametrize("name", ["cold-start", "simulated"])
def test_indices_are_judged_as_they_are_shown(name: str) -> None:
    """The next item in the place of one that may not be shown, round the end."""
    env = MAKE[name]("item")
    last = env.action_space.n - 1

    def act(seen: np.ndarray) -> np.ndarray:
        return np.full(len(seen), last)

    if name == "cold-start":
        score = registration.score_function(act, vectors_of(USERS), "item")
    else:
        score = gym_simulated.score_function(act, factors_of(), CONSEQUENCE.films, 6)
    assert_shown_as_judged(env, score, last)


@pytest.mark.parametrize("told", [4000, -1, 4.7, float("nan"), True, "2"])
def test_a_policy_that_names_no_item_is_refused(told: object) -> None:
    def act(seen: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        return np.full(len(seen), told)

    env = MAKE["cold-start"]("item")
    env.reset(seed=0)
    histories = env.sessions.observation()
    for score in (
        registration.score_function(act, vectors_of(USERS), "item"),
        gym_elicitation.score_function(act, GAUSSIAN),
    ):
        with pytest.raises((ValueError, TypeError), match="a policy says whole numbers|convert"):
            score(histories)


@pytest.mark.parametrize(
    "vectors",
    [
        torch.full((USERS.n_items, 3), 1e300, dtype=torch.float64),
        torch.ones(USERS.n_items, 3, dtype=torch.bool),
        torch.ones(USERS.n_items, 3, dtype=torch.complex64),
    ],
)
def test_vectors_are_finite_as_they_are_used(vectors: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="vectors are finite numbers"):
        registration.GymColdStartEnv(users=USERS, vectors=vectors)


def test_the_nearest_place_is_that_of_the_action() -> None:
    places = places_of(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(places.mean(0), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(places.std(0), torch.ones(4))
    assert torch.equal(nearness(places / REACH, places).argmax(1), torch.arange(30))
