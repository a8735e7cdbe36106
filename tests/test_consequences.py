"""Simulated users with consequences: both forms, what is observed, an agent that looks ahead."""

import pandas as pd
import pytest
import torch
from toys import changed, random_log

from recsys_rl.agent.affected import SHUT
from recsys_rl.agent.build import build
from recsys_rl.agent.soft import _spread
from recsys_rl.agent.training import train
from recsys_rl.data.effects import GENRES, WIDTH, blockbusters, effects, genre_shares
from recsys_rl.embeddings.rating_factors import DescribedFactors, RatingFactors
from recsys_rl.envs.base import best_item
from recsys_rl.envs.consequences import (
    Consequence,
    ConsequencesEnv,
    consequence_users,
    greedy_oracle,
    rated_at_random,
)
from recsys_rl.envs.simulated import SimulatedEnv, Simulator
from recsys_rl.evaluation.sessions import whole_sessions
from recsys_rl.experiments import config_of
from recsys_rl.tasks.registry import task_of

N_USERS, N_ITEMS, STEPS = 40, 30, 8


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def films_of() -> torch.Tensor:
    """c rises with the index; every film has one genre of three."""
    films = torch.zeros(N_ITEMS, WIDTH)
    films[:, 0] = torch.linspace(0, 1, N_ITEMS)
    films[torch.arange(N_ITEMS), 1 + torch.arange(N_ITEMS) % 3] = 1.0
    return films


def simulator_of() -> Simulator:
    """Ratings of rank 2 around 3.5; blockbusters are a little better."""
    taste = torch.randn(N_USERS, 1, generator=gen()) * torch.randn(N_ITEMS, generator=gen(1))
    return Simulator((3.3 + 0.4 * taste + 0.4 * torch.linspace(0, 1, N_ITEMS)).clamp(1, 5))


def env_of(form: str, dial: float, **options) -> ConsequencesEnv:
    consequence = Consequence(films_of(), form, dial)
    options = {"horizon": STEPS, "sessions": 16, "generator": gen()} | options
    return ConsequencesEnv(simulator_of(), consequence, **options)


def played(env: SimulatedEnv, seed: int = 0):
    """Random films -> what was shown, its stars, its rewards; lists of tensors [B]."""
    env.reset(seed=seed)
    shown, stars, rewards = [], [], []
    for step in range(STEPS):
        scores = torch.rand(16, N_ITEMS, generator=gen(step))
        _, reward, *_, info = env.step(best_item(scores, env.excluded))
        shown.append(info["item"])
        stars.append(info["rating"])
        rewards.append(reward)
    return shown, stars, rewards


def test_satisfaction_is_the_formula():
    dial, films = 0.5, films_of()
    shown, stars, rewards = played(env_of("satisfaction", dial))
    n = torch.zeros(16)
    for item, star, reward in zip(shown, stars, rewards, strict=True):
        c = films[item, 0]
        mood = 1 - dial + 2 * dial * torch.sigmoid(3 * n)
        torch.testing.assert_close(reward, star * (1 + 0.6 * dial * c) * mood)
        n = 0.9 * n + 0.2 * (0.5 - c)


def test_satiation_is_the_formula():
    dial, films = 0.5, films_of()
    shown, stars, rewards = played(env_of("satiation", dial))
    share = torch.zeros(16, WIDTH - 1)
    for item, star, reward in zip(shown, stars, rewards, strict=True):
        genres = films[item, 1:]
        torch.testing.assert_close(reward, star * (1 - dial * (share * genres).sum(1)))
        share = 0.9 * share + 0.1 * genres


@pytest.mark.parametrize("form", ["satiation", "satisfaction"])
def test_at_0_it_is_the_plain_world(form):
    plain = SimulatedEnv(
        simulator_of(), horizon=STEPS, sessions=16, reward=torch.clone, generator=gen()
    )
    for mine, others in zip(played(env_of(form, 0.0)), played(plain), strict=True):
        torch.testing.assert_close(mine, others)


def test_the_observation_tells_the_effect():
    env = env_of("satisfaction", 0.5)
    histories, _ = env.reset(seed=3)
    for step in range(STEPS):
        torch.testing.assert_close(effects(histories, films_of(), STEPS), env._effect)
        scores = torch.rand(16, N_ITEMS, generator=gen(step))
        histories, *_ = env.step(best_item(scores, env.excluded))


def test_what_a_film_would_earn_is_what_it_earns():
    env = env_of("satiation", 1.0, known=True)
    histories, _ = env.reset(seed=1)
    for item in torch.randint(N_ITEMS, (STEPS, 16), generator=gen()):
        expected = env.rewards()
        mine = greedy_oracle(env.simulator, env.consequence, STEPS)(histories)
        torch.testing.assert_close(mine.masked_fill(env.excluded, 0), expected)
        there = ~env.excluded.gather(1, item.unsqueeze(1)).squeeze(1)
        histories, reward, *_ = env.step(item)
        earned = expected.gather(1, item.unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(reward[there], earned[there])


def test_sessions_go_on_where_they_stood():
    env = env_of("satisfaction", 0.5)
    env.reset(seed=0)
    env.step(torch.arange(16))
    other = env_of("satisfaction", 0.5)
    other.load_state_dict(env.state_dict())
    torch.testing.assert_close(other.rewards(), env.rewards())


@pytest.mark.parametrize("wrong", [{"form": "boredom"}, {"dial": 1.5}, {"dial": float("nan")}])
def test_there_are_two_forms_and_a_dial_from_0_to_1(wrong):
    with pytest.raises(ValueError, match="form is one of|dial is within"):
        Consequence(films_of(), **wrong)


def test_films_are_described_by_ratings_and_genres():
    log = random_log()
    c = blockbusters(log)
    counts = torch.bincount(log.item, minlength=log.n_items)
    assert c.argmax() in (counts == counts.max()).nonzero()
    assert c.min() == 0
    assert c.max() <= 1
    movies = pd.DataFrame({"item": log.item_ids.ids[:2], "genres": ["War|Drama", "None at all"]})
    shares = genre_shares(log, movies)
    assert shares[0, [GENRES.index("War"), GENRES.index("Drama")]].tolist() == [0.5, 0.5]
    assert shares[1:].sum() == 0


def test_later_sets_name_a_genre_in_another_way():
    log = random_log()
    movies = pd.DataFrame({"item": log.item_ids.ids[:1], "genres": ["Children|Comedy"]})
    shares = genre_shares(log, movies)
    assert shares[0, [GENRES.index("Children's"), GENRES.index("Comedy")]].tolist() == [0.5, 0.5]


def test_the_spread_of_q_leaves_out_what_cannot_be_shown():
    q = torch.randn(4, 60, generator=gen())
    found = _spread(torch.cat([q, torch.full((4, 7), SHUT)], 1))
    assert float(found) == pytest.approx(float(q.std(1).mean()), rel=1e-5)


def test_a_split_needs_the_genres():
    with pytest.raises(ValueError, match="consequences depend on genres"):
        task_of(random_log(), "simulated-satiation-0.5")
    with pytest.raises(ValueError, match="there is no split"):
        task_of(random_log(), "simulated-boredom-0.5")


def test_looking_ahead_earns_more_than_taking_what_earns_most_now():
    simulator, films = simulator_of(), films_of()
    users, _, others = consequence_users(N_USERS)
    log = rated_at_random(simulator, users, random_log(N_USERS, N_ITEMS))
    consequence, found = Consequence(films, "satisfaction", 1.0), {}
    for gamma in (0.0, 0.95):
        config = changed(
            config_of("consequences", "ml-100k"),
            {"env.horizon": STEPS, "state.k": 3, "ddpg.gamma": gamma, "ddpg.updates": 160},
        )
        factors = RatingFactors.of(log, 3, gen())
        training = build(
            config,
            log,
            make_env=lambda _, generator: ConsequencesEnv(
                simulator, consequence, users=users, horizon=STEPS, generator=generator
            ),
            embeddings=DescribedFactors(factors.user, factors.item, films),
        )
        train(training)
        env = ConsequencesEnv(simulator, consequence, users=others, horizon=STEPS)
        found[gamma] = whole_sessions(training.agent.score, env).mean()["return"]
    assert found[0.95] > 1.1 * found[0.0]
