"""Splits with their evaluations: nobody is trained on and tested."""

from dataclasses import replace

import pytest
import torch
from synthetic import write_movielens

from recsys_rl.agent.build import build
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.splits import after_a_pause, split_users
from recsys_rl.embeddings import places
from recsys_rl.experiments import config_of
from recsys_rl.tasks.cold_start import users_of_eighth
from recsys_rl.tasks.registry import SPLITS, split_for, task_of

PROTOCOLS = {
    "leave-one-out": {"leave-one-out"},
    "after-a-pause": {"after-a-pause"},
    "random-positives": {"random-positives"},
    "ratings": {"re-ranking"},
    "temporal": {"temporal"},
    "cold-start": {"seed-and-suggest", "cold-start-sessions"},
    "simulated": {"simulated-A", "simulated-B"},
    "simulated-series": {"simulated-A", "simulated-B"},
    "user-leaves": {"user-leaves", "user-leaves, another's ratings"},
    "user-leaves-model": {"user-leaves", "user-leaves, another's ratings"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_movielens(tmp_path_factory.mktemp("tiny") / "tiny", "csv", 80, 240)
    ratings = Interactions.from_ratings(load_ratings(folder))
    place = torch.arange(len(ratings)) - ratings.offsets[ratings.user]
    pause = 86_400 * (place >= 18) * (ratings.user % 2)  # of every second user
    return replace(ratings, timestamp=ratings.timestamp + pause)


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_says_what_is_measured(split, data):
    task = task_of(data, split)
    score = lambda histories: torch.zeros(len(histories), task.train.n_items)  # noqa: E731
    assert set(task.test(score)) == PROTOCOLS[split]
    if task.validate is not None:
        assert task.metric in task.validate(score)
    assert len(task.train) > 0
    if task.env != "user-leaves":  # it plays
        assert len(task.train) < len(data)


def test_users_are_trained_on_or_tested(data):
    task = task_of(data, "cold-start")
    train, _, test = split_users(data.n_users)
    assert task.train.user.unique().tolist() == train.tolist()
    assert task.test_users.user.unique().tolist() == test.tolist()


def test_eight_groups_test_every_user_once(data):
    users = []
    for number in range(1, 9):
        train, validation, test = users_of_eighth(data, number)
        everybody = torch.cat([train, validation, test]).sort().values
        assert torch.equal(everybody, torch.arange(data.n_users))
        assert len(validation) == data.n_users // 10
        users.append(test)
    assert torch.equal(torch.cat(users).sort().values, torch.arange(data.n_users))
    assert task_of(data, "cold-start-eighth-1").test_users.user.unique().tolist() == [
        user for user in users[0].tolist() if user in data.user
    ]


def test_simulated_users_are_met_in_the_simulator_of_the_training(data):
    task = task_of(data, "simulated-series")
    config = config_of("DRR-set-simulated", "ml-100k").with_fields(
        {"env.sessions": 4, "state.k": 8, "pretrain.updates": 1}
    )
    environment = task.build(config).environment
    assert (environment.horizon, environment.series) == (10, 0.1)
    with pytest.raises(ValueError, match='env.name="simulated" needs make_env'):
        build(config, task.train)


def test_an_agent_is_trained_on_the_split_that_its_environment_needs():
    assert split_for("logged") == "leave-one-out"
    assert split_for("cold-start") == "cold-start"


def test_an_unknown_split_is_refused_with_the_known_ones(data):
    with pytest.raises(ValueError, match="there is no split 'people': choose among leave-one-out"):
        task_of(data, "people")


def test_after_a_pause_nothing_that_followed_it_is_trained_on(data):
    split = after_a_pause(data)
    assert len(split.validation) == 0 < len(split.test)
    for user in range(data.n_users):
        rows = data.user == user
        times = data.timestamp[rows].tolist()
        pauses = [i for i in range(1, len(times)) if times[i] - times[i - 1] >= 86_400]
        kept = pauses[-1] if pauses else len(times)
        assert (
            split.train.item[split.train.user == user].tolist() == data.item[rows][:kept].tolist()
        )
        after = split.test.item[split.test.user == user].tolist()
        assert after == (data.item[rows][kept : kept + 1].tolist() if pauses else [])


def test_agents_of_users_who_leave_start_from_who_left(data, monkeypatch):
    monkeypatch.setattr(places, "UPDATES", 20)
    task = task_of(data, "user-leaves")
    config = config_of("user-leaves", "ml-100k")
    known = task.embeddings(config)
    agent = task.build(config).agent
    assert known.places.std() > 0.1
    for network in (agent.actor, agent.critic, agent.target_critic):
        assert torch.equal(network.pairs.places, known.places)
    for changes in ({"state.name": "DRR-ave"}, {"state.embeddings": "random"}):
        assert task.embeddings(config.with_fields(changes)) is None
    other = {"state.name": "DRR-ave", "state.k": 8, "ddpg.gradient": "expected"}
    task.build(config.with_fields(other))
