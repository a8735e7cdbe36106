"""The agent: every fault known of its relatives, its formulas, and whether it learns at all."""

from __future__ import annotations

import ast
import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from toys import Training, log_of, mean_reward, random_log, settings_of, two_tastes

from recsys_rl.agent import checkpoint

# checkpoint
from recsys_rl.agent.checkpoint import Interruptible, load_checkpoint, save_checkpoint
from recsys_rl.agent.config import Settings
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.demonstrations import Window
from recsys_rl.agent.exploration import OUNoise
from recsys_rl.agent.replay import PrioritizedReplayBuffer, ReplayBuffer, Transitions
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.histories import Histories
from recsys_rl.data.observation import Observation
from recsys_rl.embeddings.cooccurrence import Cooccurrence
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.registry import STATES

ROOT = Path(__file__).resolve().parent.parent
N_USERS, N_ITEMS = 12, 20
KINDS = ("ave", "seq")


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four million numbers are drawn for every DRR-seq otherwise."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def agent_of(**changes) -> DDPG:
    return DDPG(settings_of(**changes), N_USERS, N_ITEMS)


def some_batch(size: int = 16, n: int = 3, seed: int = 0) -> Transitions:
    """Transitions without padding; a third of them terminal."""
    draw = torch.Generator().manual_seed(seed)
    user = torch.randint(N_USERS + 1, (size,), generator=draw)
    memory, following = torch.randint(N_ITEMS, (2, size, n), generator=draw)
    return Transitions(
        Observation(user, memory),
        torch.randint(N_ITEMS, (size,), generator=draw),
        torch.randn(size, generator=draw),
        Observation(user, following),
        torch.arange(size) % 3 == 0,
    )


def some_demonstration(size: int = 16, n: int = 3) -> tuple[Observation, Tensor]:
    batch = some_batch(size, n, seed=9)
    return batch.observation, batch.item


def updated(agent: DDPG, batch: Transitions, weights: Tensor | None = None):
    weights = torch.ones(len(batch.item)) if weights is None else weights
    return agent.update(batch, weights, some_demonstration())


def copy_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


# ---------------------------------------------------------- the notebook's own training loop


def notebook_cells() -> list[dict]:
    return json.loads((ROOT / "recsys_rl.ipynb").read_text(encoding="utf-8"))["cells"]


class NoBar:
    """Stands for tqdm."""

    def __init__(self, **_: object) -> None: ...
    def __enter__(self) -> NoBar:
        return self

    def __exit__(self, *_: object) -> None: ...
    def update(self) -> None: ...
    def set_postfix(self, _: object) -> None: ...


def notebook_train() -> Callable:
    """`train` as the notebook defines it, taken out of the cell that is tagged so."""
    cells = [c for c in notebook_cells() if "train" in c["metadata"].get("tags", [])]
    assert len(cells) == 1
    names = {
        "Interruptible": Interruptible,
        "Path": Path,
        "Transitions": Transitions,
        "load_checkpoint": load_checkpoint,
        "pd": pd,
        "save_checkpoint": save_checkpoint,
        "tqdm": NoBar,
    }
    exec("".join(cells[0]["source"]), names)
    return names["train"]


def judge(agent: DDPG) -> dict[str, float]:
    """Some figure that depends on all the actor's weights."""
    memory = torch.arange(agent.settings.n).unsqueeze(0)
    return {"ndcg@10": float(agent.act(Observation(torch.tensor([0]), memory)).mean())}


class Spy:
    """Runs the notebook's loop on two tastes and keeps what passed between its parts."""

    def __init__(self, tmp_path: Path, **changes) -> None:
        log = two_tastes(8, 16)
        small = {"imitation_updates": 4, "ddpg_updates": 30, "epsilon": 0.5, "tau": 0.5}
        self.agent = DDPG(settings_of(**(small | changes)), log.n_users, log.n_items)
        self.replay, self.stored, self.drawn, self.updates = self.agent.memory(), [], [], []
        self.priorities, self.resets, self.steps = [], [], []
        for owner, name, kept in (
            (self.replay, "add", self.stored),
            (self.replay, "sample", self.drawn),
            (self.replay, "update_priorities", self.priorities),
            (self.agent, "update", self.updates),
        ):
            setattr(owner, name, self._spied(getattr(owner, name), kept))
        self.sessions, self.demonstrations = self.agent.play(log)
        self.sessions._random_rows = lambda users: log.offsets[users] + 1
        self.sessions.step = self._spied(self.sessions.step, self.steps)
        self.sessions.reset = self._spied(self.sessions.reset, self.resets)
        self.agent.memory = lambda: self.replay
        self.agent.play = lambda _: (self.sessions, self.demonstrations)
        self.noise_resets: list = []
        self.agent.noise.reset = self._spied(self.agent.noise.reset, self.noise_resets)
        self.curve, _, self.weights = notebook_train()(self.agent, log, judge, tmp_path / "none.pt")

    @staticmethod
    def _spied(call: Callable, kept: list) -> Callable:
        def spied(*arguments):
            result = call(*arguments)
            kept.append((arguments, result))
            return result

        return spied


@pytest.fixture(scope="module")
def spy(tmp_path_factory: pytest.TempPathFactory) -> Spy:
    return Spy(tmp_path_factory.mktemp("spy"))


def test_fault_1_a_hit_is_not_stored_as_an_end(spy: Spy) -> None:
    """Fifteen films ahead and sessions of four: no log is used up, so nothing is terminal."""
    for (stored,), _ in spy.stored:
        assert not stored.terminated.any()
    rewards = torch.cat([stored.reward for (stored,), _ in spy.stored])
    assert (rewards == 1).any(), "without hits this would show nothing"
    assert not spy.replay.terminated.any()
    assert set(spy.replay.reward[: len(spy.replay)].tolist()) <= {-1.0, 0.0, 1.0}


def test_fault_1_an_end_is_stored_as_one(tmp_path: Path) -> None:
    """Sessions long enough to use up what is left of every log."""
    spy = Spy(tmp_path, horizon=99)
    assert any(stored.terminated.any() for (stored,), _ in spy.stored)
    for ((stored,), _), (_, step) in zip(spy.stored, spy.steps, strict=True):
        assert torch.equal(stored.terminated, step[2][step[4]["active"]])


def test_fault_10_a_time_limit_is_not_stored_as_an_end(spy: Spy) -> None:
    """The last step of a session is stored like any other, and its target bootstraps."""
    limits = [step for _, step in spy.steps if step[3].any()]
    assert len(limits) == len(spy.steps) // 4
    limit = spy.stored[3][0][0]
    assert not limit.terminated.any()
    following = spy.agent.targets(limit) - limit.reward
    assert (following.abs() > 1e-7).all()


def test_the_loop_stores_what_happened_and_nothing_of_sessions_that_are_over(spy: Spy) -> None:
    for ((stored,), _), (_, step) in zip(spy.stored, spy.steps, strict=True):
        after, reward, _, _, info = step
        live = info["active"]
        assert torch.equal(stored.item, info["item"][live])
        assert torch.equal(stored.reward, reward[live])
        assert torch.equal(stored.next_observation.memory, after.memory[live])
    for ((first,), _), ((second,), _), (_, step) in zip(
        spy.stored, spy.stored[1:], spy.steps, strict=False
    ):
        if not step[3].any() and len(first.item) == len(second.item):
            assert torch.equal(first.next_observation.memory, second.observation.memory)


def test_fault_3_priorities_are_the_td_errors_and_weights_reach_the_update(spy: Spy) -> None:
    assert len(spy.priorities) == len(spy.updates) == len(spy.drawn) == 30
    unequal = 0
    for (_, drawn), (passed, result), (priority, _) in zip(
        spy.drawn, spy.updates, spy.priorities, strict=True
    ):
        _, weights, places = drawn
        assert passed[0] is drawn[0]
        assert passed[1] is weights
        assert priority[0] is places
        assert priority[1] is result[1]
        unequal += int(bool((weights < 1).any()))
    assert unequal > 20
    places, td_error = spy.priorities[-1][0]
    last = {int(p): float(e) for p, e in zip(places, td_error, strict=True)}
    for place, error in last.items():
        wanted = (abs(error) + spy.replay.eps) ** spy.replay.alpha
        assert float(spy.replay.tree.get(torch.tensor([place]))) == pytest.approx(wanted, rel=1e-5)


def test_noise_starts_anew_with_every_round_of_sessions(spy: Spy) -> None:
    assert len(spy.resets) == len(spy.noise_resets) == 30 // 4 + 1


def test_the_loop_keeps_the_best_weights_of_each_stage(tmp_path: Path) -> None:
    """Copies from the update at which the figure was highest, not whatever comes last."""
    seen: dict[int, dict[str, Tensor]] = {}
    figures = iter([0.1, 0.3, 0.2, 0.15, 0.25, 0.1])

    def validate(agent: DDPG) -> dict[str, float]:
        seen[agent.imitated + agent.updated] = copy_of(agent.actor)
        return {"ndcg@10": next(figures)}

    log = random_log()
    settings = settings_of(imitation_updates=4, ddpg_updates=6, evaluate_every=2)
    agent = DDPG(settings, log.n_users, log.n_items)
    curve, _, weights = notebook_train()(agent, log, validate, tmp_path / "none.pt")
    assert curve["update"].tolist() == list(seen) == [0, 2, 4, 6, 8, 10]
    assert same(weights["imitation"], seen[2])
    assert same(weights["DDPG"], seen[8])
    assert not same(weights["DDPG"], copy_of(agent.actor))


# ------------------------------------------------------------------------ one action a person


@pytest.mark.parametrize("name", list(STATES))
def test_fault_2_different_people_get_different_actions(name: str) -> None:
    agent = agent_of(state=name)
    memory = torch.tensor([[1, 2, 3], [7, 8, 9], [4, 5, 6]])
    people = torch.tensor([0, 3, N_USERS])
    action = agent.act(Observation(people, memory))
    assert action.shape[0] == 3
    assert (torch.pdist(action) > 1e-4).all()
    ratings = torch.full((3, 3), 5.0)
    scores = agent.score(Histories(people, memory, ratings))
    assert scores.shape == (3, N_ITEMS)
    for row in range(3):
        alone = agent.score(
            Histories(people[row : row + 1], memory[row : row + 1], ratings[row : row + 1])
        )
        torch.testing.assert_close(scores[row], alone[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(scores[row], action[row] @ agent.actor.item_vectors.T)


def test_actions_are_bounded_and_have_the_width_of_the_vectors() -> None:
    agent = agent_of()
    with torch.no_grad():
        for parameter in agent.actor.body.parameters():
            parameter *= 50
    action = agent.act(some_batch().observation)
    assert action.shape == (16, 6)
    assert float(action.abs().max()) <= 1


def test_scoring_reads_what_the_state_reads() -> None:
    """The paper's states see the latest n positives; DRR-seq sees whatever was rated."""
    histories = Histories(
        torch.tensor([0]), torch.tensor([[4, 1, 2, 3]]), torch.tensor([[5.0, 4.0, 1.0, 4.5]])
    )
    for name, memory in {"ave": [4, 1, 3], "seq": [1, 2, 3]}.items():
        agent = agent_of(state=name)
        action = agent.act(Observation(torch.tensor([0]), torch.tensor([memory])))
        torch.testing.assert_close(agent.score(histories), agent.actor.scores(action).detach())


# -------------------------------------------------------------------------- critic and targets


def by_hand(agent: DDPG, batch: Transitions) -> Tensor:
    """y = r + gamma Q'(s', the softmax's mean film among those not in the memory)."""
    wanted = []
    for row in range(len(batch.item)):
        after = batch.next_observation.at(slice(row, row + 1))
        scores = agent.target_actor(after) @ agent.target_actor.item_vectors.T
        for film in after.memory[0].tolist():
            if film < scores.shape[1]:
                scores[0, film] = -torch.inf  # it is never shown again
        share = scores.softmax(1)
        q = agent.target_critic(after, share @ agent.target_critic.item_vectors)
        bootstrap = 0.0 if batch.terminated[row] else agent.settings.gamma * float(q.detach())
        wanted.append(float(batch.reward[row]) + bootstrap)
    return torch.tensor(wanted)


@pytest.mark.parametrize("name", KINDS)
def test_targets_by_hand(name: str) -> None:
    agent, batch = agent_of(state=name), some_batch()
    with torch.no_grad():  # the online networks must not matter
        for parameter in (*agent.actor.parameters(), *agent.critic.parameters()):
            parameter += 1
    targets = agent.targets(batch)
    assert not targets.requires_grad
    torch.testing.assert_close(targets, by_hand(agent, batch))
    assert torch.equal(targets[batch.terminated], batch.reward[batch.terminated])
    assert (targets != batch.reward)[~batch.terminated].all()


def test_without_gamma_the_target_is_the_reward() -> None:
    batch = some_batch()
    assert torch.equal(agent_of(gamma=0.0).targets(batch), batch.reward)


def test_td_errors_and_the_weighted_loss() -> None:
    agent, batch = agent_of(), some_batch()
    weights = torch.rand(16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        q = agent.critic(batch.observation, agent.critic.item_vectors[batch.item])
        wanted = q - agent.targets(batch)
    losses, td_error = updated(agent, batch, weights)
    torch.testing.assert_close(td_error, wanted)
    assert not td_error.requires_grad
    assert losses["critic"] == pytest.approx(float((weights * wanted**2).mean()), rel=1e-5)


def test_fault_3_a_transition_of_weight_zero_teaches_nothing() -> None:
    results = []
    for shift in (0.0, 100.0):  # added to the reward of the transitions that do not count
        agent, batch = agent_of(weight_decay=0.0), some_batch()
        weights = (torch.arange(16) < 8).float()
        updated(agent, batch._replace(reward=batch.reward + shift * (1 - weights)), weights)
        results.append(copy_of(agent.critic))
    assert same(*results)


def test_the_critic_learns_the_value_of_the_film_that_was_shown() -> None:
    """One state, sixteen films and rewards: only whoever reads the film can tell them apart."""
    agent = agent_of(gamma=0.0, critic_lr=1e-2, weight_decay=0.0, critic_warmup=1000)
    draw = torch.Generator().manual_seed(0)
    observation = Observation(torch.zeros(16, dtype=torch.int64), torch.tensor([[1, 2, 3]] * 16))
    reward = torch.randn(16, generator=draw)
    over = torch.zeros(16, dtype=torch.bool)
    batch = Transitions(observation, torch.arange(16), reward, observation, over)
    for _ in range(300):
        updated(agent, batch)
    q = agent.critic(observation, agent.critic.item_vectors[batch.item])
    assert float((q - reward).abs().max().detach()) < 0.1


def test_targets_move_by_exactly_tau() -> None:
    agent = agent_of(tau=0.25)
    before = copy_of(agent.target_actor), copy_of(agent.target_critic)
    updated(agent, some_batch())
    pairs = (agent.target_actor, agent.actor), (agent.target_critic, agent.critic)
    for old, (target, source) in zip(before, pairs, strict=True):
        now = source.state_dict()
        moved = 0
        for name, value in target.state_dict().items():
            torch.testing.assert_close(value, 0.75 * old[name] + 0.25 * now[name])
            moved += int(not torch.equal(value, old[name]))
        assert moved > 5


def test_target_networks_get_no_gradient() -> None:
    agent = agent_of()
    updated(agent, some_batch())
    for network in (agent.target_actor, agent.target_critic):
        for parameter in network.parameters():
            assert not parameter.requires_grad
            assert parameter.grad is None


def test_the_targets_are_copies() -> None:
    agent = agent_of()
    for target, source in (
        (agent.target_actor, agent.actor),
        (agent.target_critic, agent.critic),
    ):
        assert same(copy_of(target), copy_of(source))
        ours = {p.data_ptr() for p in target.parameters()}
        assert not ours & {p.data_ptr() for p in source.parameters()}
    assert agent.actor.item_vectors.data_ptr() != agent.critic.item_vectors.data_ptr()


# --------------------------------------------------------------------------------- the actor


@pytest.mark.parametrize("name", KINDS)
def test_fault_9_with_a_fixed_critic_the_actor_climbs_q(name: str) -> None:
    """Its very first step must go up, and so must a hundred."""
    agent = agent_of(state=name, cloning=0.0, critic_lr=0.0, weight_decay=0.0, actor_lr=1e-3)
    agent.start_ddpg()
    batch = some_batch()
    critic = copy_of(agent.critic)
    heights = [float(agent.q_of_policy(batch.observation).mean().detach())]
    for _ in range(100):
        updated(agent, batch)
        heights.append(float(agent.q_of_policy(batch.observation).mean().detach()))
    assert same(critic, copy_of(agent.critic))
    assert heights[1] > heights[0]
    assert heights[-1] > heights[0] + 5 * (heights[1] - heights[0])


def test_q_has_a_gradient_in_every_layer_of_the_actor() -> None:
    """Not only in the vectors that score the films."""
    agent = agent_of(cloning=0.0)
    agent.q_of_policy(some_batch().observation).mean().backward()
    for name, parameter in agent.actor.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_actors_update_leaves_the_critic_alone() -> None:
    """Its gradient passes through the critic but must not be stepped on."""
    results = []
    for warmup in (0, 1000):
        agent = agent_of(critic_warmup=warmup)
        for seed in range(3):
            updated(agent, some_batch(seed=seed)._replace(terminated=torch.ones(16) > 0))
        results.append(copy_of(agent.critic))
    assert same(*results)


def test_critic_warmup_leaves_the_actor_alone_and_no_longer() -> None:
    agent = agent_of(critic_warmup=3)
    before, critic = copy_of(agent.actor), copy_of(agent.critic)
    for update in range(5):
        losses, _ = updated(agent, some_batch(seed=update))
        assert same(before, copy_of(agent.actor)) == (update < 3)
        assert ("actor" in losses) == (update >= 3)
        assert not same(critic, copy_of(agent.critic))


def test_cloning_zero_reads_no_demonstration() -> None:
    agent = agent_of(cloning=0.0)
    agent.update(some_batch(), torch.ones(16), None)  # would fail on None


def test_cloning_pulls_towards_what_people_did() -> None:
    losses = []
    for cloning in (0.0, 10.0):
        agent = agent_of(cloning=cloning, actor_lr=1e-2)
        agent.start_ddpg()
        for seed in range(30):
            updated(agent, some_batch(seed=seed))
        losses.append(float(agent.imitation_loss(some_demonstration()).detach()))
    assert losses[1] < losses[0] - 0.5


@pytest.mark.parametrize("name", KINDS)
def test_critic_reads_actor_copies_the_warm_state_and_freezes_it(name: str) -> None:
    agent = agent_of(state=name, critic_reads="actor", actor_lr=1e-2, tau=0.5)
    training = SimpleNamespace(stream=agent.play(random_log(N_USERS, N_ITEMS))[1])
    for _ in range(3):
        agent.imitate(next(training.stream))
    agent.start_ddpg()
    warm = copy_of(agent.actor.state)
    assert same(warm, copy_of(agent.critic.state))
    assert same(warm, copy_of(agent.target_critic.state))
    value = agent.critic.value.weight.clone()
    for seed in range(3):
        agent.update(some_batch(seed=seed), torch.ones(16), next(training.stream))
    assert same(warm, copy_of(agent.critic.state))
    assert same(warm, copy_of(agent.target_critic.state))
    assert not same(warm, copy_of(agent.actor.state))
    assert not torch.equal(value, agent.critic.value.weight)


def test_critic_reads_its_own_by_default() -> None:
    agent = agent_of()
    agent.imitate(some_demonstration())
    before = copy_of(agent.critic)
    agent.start_ddpg()
    assert same(before, copy_of(agent.critic))
    updated(agent, some_batch())
    assert not torch.equal(
        before["state.item_vectors.weight"], agent.critic.state.item_vectors.weight
    )


# -------------------------------------------------------------------------------- imitation


def test_imitation_loss_is_the_cross_entropy_of_the_next_film() -> None:
    agent, (observation, film) = agent_of(), some_demonstration()
    wanted = F.cross_entropy(agent.actor(observation) @ agent.actor.item_vectors.T, film)
    torch.testing.assert_close(agent.imitation_loss((observation, film)), wanted)


def test_imitation_loss_of_windows_counts_no_padding() -> None:
    agent = agent_of(state="seq", n=4)
    pad = N_ITEMS
    window = Window(
        torch.tensor([[1, 2, 3, 4], [5, 6, pad, pad]]),
        torch.tensor([[2, 3, 4, 9], [6, 8, pad, pad]]),
    )
    action = agent.actor.state.sequence(window.items)
    rows = torch.cat([action[0], action[1, :2]])
    target = torch.tensor([2, 3, 4, 9, 6, 8])
    wanted = F.cross_entropy(rows @ agent.actor.item_vectors.T, target)
    torch.testing.assert_close(agent.imitation_loss(window), wanted)


def test_imitation_leaves_critic_and_targets_alone_until_the_stage_ends() -> None:
    agent = agent_of(actor_lr=3e-4)
    critic, target = copy_of(agent.critic), copy_of(agent.target_actor)
    for _ in range(3):
        agent.imitate(some_demonstration())
    assert same(critic, copy_of(agent.critic))
    assert same(target, copy_of(agent.target_actor))
    agent.start_ddpg()
    assert same(copy_of(agent.actor), copy_of(agent.target_actor))
    assert {group["lr"] for group in agent.actor_optimizer.param_groups} == {3e-4}


def test_imitation_warms_up_to_the_peak_and_ends_near_nothing() -> None:
    agent = agent_of(imitation_updates=40, imitation_lr=1e-2)
    rates = []
    for _ in range(40):
        agent.imitate(some_demonstration())
        rates.append(agent.actor_optimizer.param_groups[0]["lr"])
    assert rates.index(max(rates)) == 2
    assert max(rates) == pytest.approx(1e-2)
    assert rates[0] < 1e-3
    assert rates[-1] < 5e-4
    falling = rates[2:]
    assert falling == sorted(falling, reverse=True)


# --------------------------------------------------------------------------------- exploring


def test_without_epsilon_and_noise_the_action_stays() -> None:
    agent = agent_of(epsilon=0.0, ou_sigma=0.0)
    action = agent.act(some_batch().observation)
    assert torch.equal(agent.explore(action), action)


def test_with_epsilon_one_every_action_is_some_films_vector() -> None:
    agent = agent_of(epsilon=1.0)
    explored = agent.explore(torch.zeros(400, 6))
    vectors = agent.actor.item_vectors.detach()
    film = torch.cdist(explored, vectors).argmin(1)
    assert torch.equal(explored, vectors[film])
    assert set(film.tolist()) == set(range(N_ITEMS))


def test_epsilon_is_the_share_that_explores() -> None:
    explored = agent_of(epsilon=0.25).explore(torch.zeros(4000, 6))
    assert float((explored != 0).any(1).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_noise_differs_between_sessions_and_steps_and_starts_from_zero() -> None:
    agent = agent_of(epsilon=0.0, ou_sigma=0.3)
    action = torch.zeros(8, 6)
    first, second = agent.explore(action), agent.explore(action)
    assert not torch.equal(first, second)
    assert (torch.pdist(first) > 1e-3).all()
    agent.noise.reset()
    assert (agent.noise.x == 0).all()


def test_ornstein_uhlenbeck_statistics() -> None:
    """x' = (1 - theta) x + sigma e: its correlation is 1 - theta, its variance known too."""
    noise, generator = OUNoise(500, 4, sigma=0.2, theta=0.15), torch.Generator().manual_seed(0)
    walk = torch.stack([noise.sample(generator) for _ in range(200)])[50:]
    assert float(walk.mean()) == pytest.approx(0, abs=0.02)
    assert float(walk.var()) == pytest.approx(0.04 / (0.3 - 0.0225), rel=0.05)
    correlation = torch.corrcoef(torch.stack([walk[1:].flatten(), walk[:-1].flatten()]))[0, 1]
    assert float(correlation) == pytest.approx(0.85, abs=0.01)
    noise.reset()
    assert float(noise.sample(generator).std()) == pytest.approx(0.2, rel=0.1)


def test_acting_and_scoring_draw_nothing_and_learn_nothing() -> None:
    agent = agent_of(state="seq")
    before, draws = copy_of(agent.actor), agent.generator.get_state()
    first, second = (agent.act(some_batch().observation) for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert same(before, copy_of(agent.actor))
    assert torch.equal(draws, agent.generator.get_state())


# ---------------------------------------------------------------------------------- settings


def unread(names: list[str], sources: list[str]) -> list[str]:
    """Those of `names` that no source reads as `settings.name` or `<anything>.settings.name`."""
    read = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = node.value
                if getattr(owner, "id", getattr(owner, "attr", "")) == "settings":
                    read.add(node.attr)
    return [name for name in names if name not in read]


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_some_people_and_not_all_may_wait_for_stage_2(share: float) -> None:
    with pytest.raises(ValueError, match=f"unmet must be .*, not {share}"):
        Settings(state="set", imitate="own", unmet=share)


@pytest.mark.parametrize("name", ["unmet", "trust_pace", "trust_put_back"])
def test_settings_that_would_do_nothing_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        Settings(**{name: 0.5})


@pytest.mark.parametrize("name", ["state", "vectors", "replay", "critic_reads", "imitate"])
def test_settings_refuse_what_they_do_not_know(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be one of .* not 'nonsense'"):
        Settings(**{name: "nonsense"})


def test_replay_and_environment_are_what_the_settings_say() -> None:
    log = random_log()
    agent = agent_of(
        replay="uniform", capacity=77, sessions=5, horizon=9, unrated=-0.1, anonymous_share=0.7
    )
    assert type(agent.memory()) is ReplayBuffer
    assert type(agent_of(replay="prioritized").memory()) is PrioritizedReplayBuffer
    assert agent.memory().capacity == 77
    sessions, _ = agent.play(log)
    assert sessions.log is log
    assert (sessions.sessions, sessions.horizon, sessions.n) == (5, 9, 3)
    assert (sessions.unrated, sessions.anonymous_share) == (-0.1, 0.7)
    assert sessions.item_vectors.data_ptr() == agent.actor.item_vectors.data_ptr()
    assert sessions.reads_from == 4.0
    assert agent_of(state="seq").play(log)[0].reads_from == 0.5


def test_a_shorter_memory_in_sessions() -> None:
    log = random_log()
    training = Training(log, settings_of(state="seq", n=6, session_memory=2))
    assert training.collect().observation.memory.shape[1] == 2
    training.run(2)


@pytest.mark.parametrize("name", ["p", "u", "ave", "att"])
def test_the_papers_states_read_n_films_in_sessions_too(name: str) -> None:
    """With one film their n scalar weights would fit it by broadcasting, and say nothing."""
    with pytest.raises(ValueError, match=f"DRR-{name} reads n films: session_memory must be 0"):
        settings_of(state=name, session_memory=1)


@pytest.mark.parametrize("name", list(STATES))
def test_padding_stays_zero_and_the_anonymous_user_is_learned(name: str) -> None:
    """Through both stages, decay, noise and the targets' moves."""
    changes = {"weight_decay": 0.1, "anonymous_share": 0.5, "epsilon": 0.5, "ou_sigma": 0.2}
    training = Training(random_log(), settings_of(state=name, **changes))
    before = training.weights()
    training.imitate(5)
    training.agent.start_ddpg()
    training.run(5)
    after = training.weights()
    for network in ("actor", "critic", "target_actor", "target_critic"):
        vectors = after[f"{network}.state.item_vectors.weight"]
        assert (vectors[-1] == 0).all()
        assert not torch.equal(vectors, before[f"{network}.state.item_vectors.weight"])
    if name in ("u", "ave", "att"):
        for network in ("actor", "critic"):
            key = f"{network}.state.user_vectors.weight"
            assert not torch.equal(after[key][-1], before[key][-1])


def test_vectors_need_something_to_start_from() -> None:
    with pytest.raises(ValueError, match="vectors='tuned' needs vectors to start from"):
        agent_of(vectors="tuned")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("vectors", ["tuned", "frozen"])
def test_vectors_start_from_those_given_and_move_only_if_tuned(name: str, vectors: str) -> None:
    log, generator = random_log(), torch.Generator().manual_seed(0)
    start = (
        PMF(log.n_users, log.n_items, 6, generator=generator)
        if name == "ave"
        else Cooccurrence(log, 6, generator)
    )
    training = Training(log, settings_of(state=name, vectors=vectors), start)
    agent = training.agent
    for network in (agent.actor, agent.critic):
        assert torch.equal(network.item_vectors[:, :6], start.item)
    before = training.weights()
    training.imitate(3)
    agent.start_ddpg()
    training.run(3)
    after = training.weights()
    for key in before:
        still = torch.equal(before[key], after[key])
        if "vectors" in key:
            assert still == (vectors == "frozen"), key
        elif "weight" in key and "state" not in key:
            assert not still, key


def test_vectors_do_not_decay_and_layers_do() -> None:
    agent = agent_of(weight_decay=0.5)
    for optimizer, network in (
        (agent.actor_optimizer, agent.actor),
        (agent.critic_optimizer, agent.critic),
    ):
        layers, vectors = optimizer.param_groups
        assert (layers["weight_decay"], vectors["weight_decay"]) == (0.5, 0.0)
        ours = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert ours == {id(p) for p in network.parameters()}
        assert {id(p) for p in vectors["params"]} == {
            id(p) for name, p in network.named_parameters() if "vectors" in name
        }


# ----------------------------------------------------------------- seeds, resuming, interrupts


def small_run(name: str, seed: int) -> dict[str, Tensor]:
    training = Training(random_log(), settings_of(state=name, seed=seed, ou_sigma=0.1))
    training.imitate(4)
    training.agent.start_ddpg()
    training.run(6)
    return training.weights()


@pytest.mark.parametrize("name", KINDS)
def test_a_seed_gives_the_same_weights_to_the_last_bit(name: str) -> None:
    torch.manual_seed(1)
    first = small_run(name, 0)
    torch.manual_seed(2)  # nobody draws from the global generator
    assert same(first, small_run(name, 0))
    other = small_run(name, 1)
    assert not torch.equal(
        first["actor.state.item_vectors.weight"], other["actor.state.item_vectors.weight"]
    )
    assert not torch.equal(first["critic.join.weight"], other["critic.join.weight"])


@pytest.mark.parametrize("name", KINDS)
def test_the_seed_decides_weights_sessions_demonstrations_and_noise(name: str) -> None:
    log = random_log()

    def drawn(seed: int) -> list[Tensor]:
        training = Training(log, settings_of(state=name, seed=seed, ou_sigma=0.1, epsilon=0.0))
        agent, demonstration = training.agent, next(training.demonstrations)
        item = demonstration.items if name == "seq" else demonstration[1]
        first = training.sessions.reset()[0].memory
        noise = agent.explore(torch.zeros(8, agent.actor.item_vectors.shape[1]))
        return [agent.actor.item_vectors, agent.critic.join.weight, item, first, noise]

    one, again, other = drawn(0), drawn(0), drawn(1)
    for ours, same_seed, another in zip(one, again, other, strict=True):
        assert torch.equal(ours, same_seed)
        assert not torch.equal(ours, another)


@pytest.mark.parametrize("stage", ["imitation", "ddpg"])
@pytest.mark.parametrize("replay", ["prioritized", "uniform"])
@pytest.mark.parametrize("name", KINDS)
def test_a_loaded_checkpoint_goes_on_to_the_last_bit(
    name: str, replay: str, stage: str, tmp_path: Path
) -> None:
    settings = settings_of(state=name, replay=replay, ou_sigma=0.1, epsilon=0.3, capacity=40)
    log = random_log()
    whole, resumed = Training(log, settings), Training(log, settings)
    whole.imitate(3)
    if stage == "ddpg":
        whole.agent.start_ddpg()
        whole.run(6)  # the ring buffer wraps, sessions are under way
    save_checkpoint(tmp_path / "deep" / "run.pt", whole.parts, {"step": 3, "best": [0.5]})
    assert load_checkpoint(tmp_path / "deep" / "run.pt", resumed.parts) == {
        "step": 3,
        "best": [0.5],
    }
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["run.pt"]
    for training in (whole, resumed):
        training.imitate(2)
        training.agent.start_ddpg()
        training.run(7)
    assert same(whole.weights(), resumed.weights())
    ours, theirs = (t.replay.state_dict() for t in (whole, resumed))
    for key, value in ours.items():
        equal = torch.equal(value, theirs[key]) if isinstance(value, Tensor) else (
            value == theirs[key]
        )  # fmt: skip
        assert equal, key
    assert torch.equal(whole.agent.generator.get_state(), resumed.agent.generator.get_state())


@pytest.mark.parametrize("stop", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("name", KINDS)
def test_the_notebooks_loop_interrupted_is_the_loop_uninterrupted(
    name: str, stop: int, tmp_path: Path
) -> None:
    """Ctrl-C during update `stop`: in either stage, at their border, in the last update."""
    log = random_log()
    settings = settings_of(
        state=name, imitation_updates=4, ddpg_updates=6, evaluate_every=2, critic_reads="actor"
    )
    train = notebook_train()

    def run(path: Path, interrupt_at: int | None) -> tuple:
        agent = DDPG(settings, log.n_users, log.n_items)
        for method in ("imitate", "update"):
            call = getattr(agent, method)

            def interrupted(*arguments, call=call):
                if agent.imitated + agent.updated == interrupt_at:
                    signal.raise_signal(signal.SIGINT)
                return call(*arguments)

            setattr(agent, method, interrupted)
        curve, _, best = train(agent, log, judge, path)
        return agent, curve, best

    agent, curve, best = run(tmp_path / "whole.pt", None)
    assert not (tmp_path / "whole.pt").exists()
    handler = signal.getsignal(signal.SIGINT)
    stopped, _, _ = run(tmp_path / "cut.pt", stop)
    assert signal.getsignal(signal.SIGINT) is handler
    assert stopped.imitated + stopped.updated == stop + 1
    again, curve_again, best_again = run(tmp_path / "cut.pt", None)
    for part in ("actor", "critic", "target_actor", "target_critic"):
        assert same(copy_of(getattr(agent, part)), copy_of(getattr(again, part)))
    assert curve["update"].tolist() == curve_again["update"].tolist()
    assert curve["ndcg@10"].tolist() == curve_again["ndcg@10"].tolist()
    assert all(same(best[stage], best_again[stage]) for stage in ("imitation", "DDPG"))


def test_a_checkpoint_that_fails_half_way_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(random_log(), settings_of())
    path = tmp_path / "run.pt"
    save_checkpoint(path, training.parts, {"step": 1})

    def torn(_: object, file: Path) -> None:
        Path(file).write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint.torch, "save", torn)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, training.parts, {"step": 2})
    assert load_checkpoint(path, training.parts) == {"step": 1}


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (open, (str(self.path), "w"))


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"parts": {}, "progress": Malice(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(Exception, match="weights_only|Weights only|Unsupported"):
        load_checkpoint(tmp_path / "evil.pt", {})
    assert not (tmp_path / "ran").exists()


def test_ctrl_c_sets_a_flag_and_the_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruptible() as interrupt:
        assert not interrupt.stop
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert interrupt.stop
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(RuntimeError, match="inside"), Interruptible():
        raise RuntimeError("inside")
    assert signal.getsignal(signal.SIGINT) is before


def test_interruptible_works_outside_the_main_thread() -> None:
    flags = []

    def work() -> None:
        with Interruptible() as interrupt:
            flags.append(interrupt.stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert flags == [False]


# ------------------------------------------------------------------------------- does it learn


# Settings with which two tastes were solved for each of twelve seeds, after 225 updates at most
TASTES: dict = {
    "k": 8,
    "hidden": 32,
    "ddpg_updates": 600,
    "critic_warmup": 30,
    "actor_lr": 3e-3,
    "critic_lr": 1e-2,
    "gamma": 0.5,
    "tau": 0.05,
    "epsilon": 0.5,
    "anonymous_share": 0.5,
    "batch_size": 64,
    "sessions": 32,
    "horizon": 5,
    "capacity": 4096,
}


@pytest.mark.parametrize("seed", range(5))
def test_reward_alone_solves_two_tastes(seed: int) -> None:
    """No imitation, no given vectors: whoever shows the same to everybody earns 0 a step, as does a
    random order; the judge does not tell who the person is, so only the memory can."""
    log = two_tastes(60, 24, seed)
    settings = settings_of(**TASTES, imitation_updates=0, cloning=0.0, demonstrations=1, seed=seed)
    training = Training(log, settings)
    assert abs(mean_reward(training.agent, log, 10)) < 0.3
    training.agent.start_ddpg()
    training.run(300)
    assert mean_reward(training.agent, log, 10) > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_imitating_likes_solves_two_tastes(seed: int) -> None:
    log = two_tastes(60, 30, seed)
    settings = settings_of(
        k=8,
        hidden=32,
        imitation_updates=150,
        imitation_lr=1e-2,
        imitate="likes",
        demonstrations=64,
        seed=seed,
    )
    training = Training(log, settings)
    training.imitate(150)
    assert mean_reward(training.agent, log, 6) > 0.8


def rings(n_items: int = 12, n_users: int = 40) -> Interactions:
    """Everybody goes round the films in order, from a place of their own."""
    return log_of(
        [
            (user, (user * 5 + step) % n_items, 4.0 + step % 2)
            for user in range(n_users)
            for step in range(9)
        ],
        n_users,
        n_items,
    )


@pytest.mark.parametrize("name", KINDS)
def test_imitating_the_next_film_learns_the_order(name: str) -> None:
    """DRR-ave sees which films, not in which order; its one-film memory is enough here."""
    log = rings()
    settings = settings_of(
        state=name,
        k=8,
        n=1 if name == "ave" else 4,
        imitate="next",
        imitation_updates=200,
        imitation_lr=2e-2,
        demonstrations=64,
    )
    training = Training(log, settings)
    training.imitate(200)
    people = torch.arange(log.n_users)
    scores = training.agent.score(log.histories(people))
    last = log.item[log.offsets[1:] - 1]
    assert float((scores.argmax(1) == (last + 1) % 12).float().mean()) > 0.9


def test_ddpg_raises_the_reward_of_a_warm_agent_beyond_imitation() -> None:
    """People watch bad films too: imitation copies them, only the reward tells them apart."""
    log = two_tastes(60, 24)
    training = Training(
        log, settings_of(**TASTES, imitate="next", imitation_updates=50, cloning=0.1)
    )
    training.imitate(50)
    assert abs(mean_reward(training.agent, log, 10)) < 0.3
    training.agent.start_ddpg()
    training.run(300)
    assert mean_reward(training.agent, log, 10) > 0.9


def test_the_agent_learns_from_the_log_it_is_handed_and_no_other() -> None:
    """Films and people without a row in the train part keep their random vectors."""
    log = random_log()
    train = log.select((log.user != 3) & (log.item != 5))
    training = Training(train, settings_of(cloning=1.0, epsilon=0.0, weight_decay=0.0))
    before = training.weights()
    training.imitate(5)
    after = training.weights()
    users = before["actor.state.user_vectors.weight"] != after["actor.state.user_vectors.weight"]
    assert not users[3].any()
    assert users.any()
    for users_seen, films in (
        (training.sessions.reset()[0].user, training.sessions.demonstrations(500)[1]),
        (training.sessions.likes(500)[0].user, training.sessions.likes(500)[1]),
    ):
        assert 3 not in users_seen.tolist()
        assert 5 not in films.tolist()
