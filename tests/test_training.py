"""The training loop: stages, the choice of weights, interrupts, and going on where it stopped."""

from __future__ import annotations

import itertools
import math
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import SMALL, SMALL_SET, changed, random_log, two_tastes, weights_of

from recsys_rl.agent import ddpg
from recsys_rl.agent.build import Training, build
from recsys_rl.agent.checkpoint import Checkpoints
from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import DDPG, Choice, Diverged
from recsys_rl.agent.exploration import OUNoise
from recsys_rl.agent.training import (
    Interrupted,
    Progress,
    Trained,
    calibration_of,
    ddpg_update,
    play,
    train,
)
from recsys_rl.data.atomic_files import STOP_SIGNALS
from recsys_rl.data.histories import Histories
from recsys_rl.evaluation.scores import checked_scores
from recsys_rl.states.layers import PooledDropout

PRETRAIN, DDPG_UPDATES = 4, 6
TOTAL = PRETRAIN + DDPG_UPDATES
BRIEF = {"pretrain.updates": PRETRAIN, "ddpg.updates": DDPG_UPDATES, "validate_every": 3}
LOG = random_log()
# what each reads beside the items differs, and so does the demonstration
AGENTS = {
    "DRR-ave": changed(SMALL, BRIEF | {"ddpg.ou_sigma": 0.1}),
    "paper": changed(SMALL, BRIEF | {"ddpg.gradient": "deterministic", "ddpg.ou_sigma": 0.1}),
    "DRR-seq": changed(SMALL, BRIEF | {"state.name": "DRR-seq", "ddpg.replay": "uniform"}),
    "DRR-set": changed(SMALL_SET, BRIEF | {"pretrain.holdout_share": 0.4, "ddpg.epsilon": 0.5}),
}
AGENTS["DRR-set, sampled"] = AGENTS["DRR-set"].with_field("pretrain.negatives", 12)


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four million numbers are drawn for every DRR-seq otherwise."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def log_for(config: Config):
    """Cold-start users need many likes."""
    return LOG if config.env.name == "logged" else two_tastes(16, 24)


def small(changes: dict[str, Any] | None = None) -> Training:
    return build(changed(SMALL, BRIEF | (changes or {})), LOG)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def actor_of(agent: DDPG) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in agent.actor.state_dict().items()}


def validate(agent: DDPG) -> dict[str, float]:
    """A number that depends on all the actor's weights."""
    histories = Histories(torch.tensor([0]), torch.tensor([[1, 2, 3]]), torch.full((1, 3), 5.0))
    return {"score": float(agent.score(histories).std())}


def at(update: int, action: Callable[[], object]) -> tuple[Callable[[Progress], None]]:
    """Callbacks that do something after one update."""

    def callback(progress: Progress) -> None:
        if progress.update == update:
            action()

    return (callback,)


# --------------------------------------------------------------------- stages, history, callbacks


def test_the_history_has_a_row_for_every_update_and_one_for_the_start() -> None:
    history = train(small(), validate=validate, metric="score").history
    assert history["update"].tolist() == list(range(TOTAL + 1))
    stages = ["start", *["pretrain"] * PRETRAIN, *["ddpg"] * DDPG_UPDATES]
    assert history["stage"].tolist() == stages
    pretrain, ddpg = (history[history["stage"] == stage] for stage in ("pretrain", "ddpg"))
    assert pretrain["pretrain_loss"].notna().all()
    assert ddpg[["critic_loss", "effective_sample_share"]].notna().all(axis=None)
    warm = ddpg["update"] > PRETRAIN + 2  # in a quarter of six updates the critic learns alone
    learned = ["actor_loss", "q_spread", "entropy"]
    assert ddpg.loc[warm, learned].notna().all(axis=None)
    assert ddpg.loc[~warm, learned].isna().all(axis=None)
    rounds = ddpg["update"].isin([PRETRAIN + 1, PRETRAIN + 5])  # sessions have four steps
    told = ["reward", "q_first", "return_first", "q_middle", "return_middle", "return_spread"]
    assert ddpg.loc[rounds, told].notna().all(axis=None)
    assert ddpg.loc[~rounds, told].isna().all(axis=None)
    assert pretrain[["critic_loss", "reward"]].isna().all(axis=None)
    assert ddpg["pretrain_loss"].isna().all()
    measured = history.loc[history["score"].notna(), "update"].tolist()
    assert measured == [0, 3, 4, 6, 9, 10], "every third update and the end of both stages"


def test_callbacks_see_every_update_when_it_is_made() -> None:
    training, seen = small(), []

    def callback(progress: Progress) -> None:
        agent = training.agent
        assert progress.rows[-1]["update"] == progress.update == agent.pretrained + agent.updated
        assert progress.total == TOTAL
        seen.append(progress.update)

    train(training, callbacks=(callback, callback))
    assert seen == [update for update in range(1, TOTAL + 1) for _ in range(2)]


def test_pretraining_comes_first_and_the_targets_start_from_it() -> None:
    training = small({"ddpg.tau": 0.0})  # targets stay where they start
    untrained, counts, pretrained = actor_of(training.agent), [], []

    def callback(progress: Progress) -> None:
        agent = training.agent
        counts.append((agent.pretrained, agent.updated))
        if progress.update <= PRETRAIN:
            pretrained.append(actor_of(agent))

    train(training, callbacks=(callback,))
    assert counts == [(i, 0) for i in (1, 2, 3, 4)] + [(4, i) for i in (1, 2, 3, 4, 5, 6)]
    assert same(training.agent.target_actor.state_dict(), pretrained[-1])
    assert not same(untrained, pretrained[-1])


@pytest.mark.parametrize("stage", ["pretrain", "ddpg"])
def test_either_stage_may_be_left_out(stage: str) -> None:
    training = small({f"{stage}.updates": 0})
    trained = train(training, validate=validate, metric="score")
    assert stage not in trained.history["stage"].tolist()
    if stage == "ddpg":
        assert same(trained.weights["pretrained"], trained.weights["final"])


# -------------------------------------------------------------------------- the choice of weights


class Scripted:
    """A validation that returns given figures, and keeps the weights that it was shown."""

    def __init__(self, figures: list[float]) -> None:
        self.figures, self.seen = iter(figures), {}

    def __call__(self, agent: DDPG) -> dict[str, float]:
        self.seen[agent.pretrained + agent.updated] = actor_of(agent)
        return {"ndcg@10": next(self.figures), "hit@10": 0.5}


@pytest.mark.parametrize(
    ("figures", "pretrained", "final"),
    [
        ([0.1, 0.3, 0.2, 0.15, 0.25, 0.1], 2, 8),
        ([0.9, 0.3, 0.2, 0.3, 0.25, 0.4], 0, 10),  # DDPG does not keep the better pretrained ones
        ([0.1, 0.1, 0.1, 0.1, 0.1, 0.1], 0, 6),  # of equal ones the first
    ],
)
def test_the_best_weights_of_each_stage_are_kept(
    figures: list[float], pretrained: int, final: int
) -> None:
    training, scripted = small({"validate_every": 2}), Scripted(figures)
    trained = train(training, validate=scripted, metric="ndcg@10")
    assert list(scripted.seen) == [0, 2, 4, 6, 8, 10]
    assert same(trained.weights["pretrained"], scripted.seen[pretrained])
    assert same(trained.weights["final"], scripted.seen[final])
    assert same(actor_of(training.agent), scripted.seen[final])
    assert trained.history["ndcg@10"].dropna().tolist() == figures


def test_without_validation_the_last_weights_of_each_stage_are_kept() -> None:
    training, seen = small(), {}

    def callback(progress: Progress) -> None:
        seen[progress.update] = actor_of(training.agent)

    trained = train(training, callbacks=(callback,))
    assert same(trained.weights["pretrained"], seen[PRETRAIN])
    assert same(trained.weights["final"], seen[TOTAL])
    assert same(actor_of(training.agent), seen[TOTAL])


@pytest.mark.parametrize("figures", [{"score": math.nan}, {"hit@10": 0.5}])
def test_a_validation_without_a_figure_to_choose_by_is_refused_at_once(figures: dict) -> None:
    training = small()
    with pytest.raises(ValueError, match="no number for 'score'"):
        train(training, validate=lambda _: figures, metric="score")
    assert training.agent.pretrained == 0


@pytest.mark.parametrize("name", ["update", "stage"])
def test_a_figure_that_the_history_names_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match=f"a figure '{name}', which the history names"):
        train(small(), validate=lambda _: {"score": 1.0, name: 0.5}, metric="score")


def test_validation_does_not_change_the_training() -> None:
    ends = []
    for options in ({}, {"validate": validate, "metric": "score"}):
        training = build(AGENTS["DRR-seq"], LOG)
        keep = at(TOTAL, lambda agent=training.agent: ends.append(weights_of(agent)))
        train(training, callbacks=keep, **options)
    assert same(*ends)


# --------------------------------------------------------------------------- one update of DDPG

Make = Callable[..., Training]


def stored(training: Training):
    return training.replay.take(torch.arange(len(training.replay)))


def playing(horizon: int, changes: dict[str, Any] | None = None) -> Training:
    """Logs of 16 items each, with something to like and to dislike."""
    config = changed(SMALL, {"env.horizon": horizon, "ddpg.epsilon": 0.5} | (changes or {}))
    return build(config, two_tastes(8, 16))


def suggesting(horizon: int, changes: dict[str, Any] | None = None) -> Training:
    """Sessions with an end, for users who like 12 items each."""
    changes = {"env.horizon": horizon, "state.n": 3 + horizon} | (changes or {})
    return build(SMALL_SET.with_fields(changes), two_tastes(16, 24))


def test_sessions_are_played_from_start_to_end() -> None:
    training = suggesting(5)
    played = play(training.agent, training.environment)
    assert played.item.shape == played.reward.shape == played.greedy.shape == (5, 16)
    assert [float(seen.elapsed[0]) for seen in played.observations] == pytest.approx(
        [0, 0.2, 0.4, 0.6, 0.8, 1]
    )
    assert training.environment.over
    assert played.active.all()
    assert played.terminated.nonzero()[:, 0].unique().tolist() == [4]
    for step, (before, after) in enumerate(itertools.pairwise(played.observations)):
        assert torch.equal(after.item[:, :-1], before.item)
        assert torch.equal(after.item[:, -1], played.item[step])
        assert torch.equal(after.rating[:, -1] >= 4, played.reward[step] == 1)
    assert played.action is None


def test_the_papers_form_plays_with_the_vectors_that_it_emits() -> None:
    training = playing(3, {"ddpg.gradient": "deterministic", "ddpg.ou_sigma": 0.3})
    played = play(training.agent, training.environment)
    own = torch.stack([training.agent.actor(seen) for seen in played.observations[:-1]])
    assert 0.05 < float((played.action - own).abs().mean().detach()) < 1, "the noise"
    assert not played.finite
    ddpg_update(*training)
    assert stored(training).action.std() > 0


@pytest.mark.parametrize("make", [playing, suggesting])
def test_sessions_are_played_before_every_update_that_they_have_steps(make: Make) -> None:
    """So an update replays as many transitions as a step of all sessions makes."""
    training, sizes = make(3, {"ddpg.replay": "uniform"}), []
    seen: list[int] = []
    sample = training.replay.sample
    training.replay.sample = lambda count, chance: (seen.append(count), sample(count, chance))[1]
    reports = []
    for _ in range(7):
        reports.append(ddpg_update(*training))
        sizes.append(len(training.replay))
        assert training.environment.over, "no session is running between updates"
    assert [size > 0 for size in np.diff(sizes, prepend=0)] == [True, False, False] * 2 + [True]
    if training.environment.finite:
        assert sizes[-1] == 3 * 48, "nobody's likes are used up"
    assert seen == [16] * 7
    assert ["reward" in report for report in reports] == [True, False, False] * 2 + [True]


def test_the_replay_forgets_the_rounds_of_long_ago() -> None:
    training = playing(1, {"env.sessions": 4, "ddpg.updates": 30})
    for _ in range(25):
        ddpg_update(*training)
    assert len(training.replay) == training.replay.capacity == 20 * 4


def test_a_hit_and_a_limit_of_the_collecting_are_not_stored_as_ends() -> None:
    training = playing(horizon=1)
    for _ in range(6):
        ddpg_update(*training)
    steps = stored(training)
    assert set(steps.reward.tolist()) == {-1.0, 1.0}
    ends = steps.discount == 0
    assert ends.sum() < len(ends) / 4, "only those who had one item left"
    assert (steps.discount[~ends] == SMALL.ddpg.gamma).all()
    assert not steps.histories.elapsed.any()


def test_a_limit_that_ends_a_session_is_stored_as_an_end() -> None:
    """With returns that reach it, none is bootstrapped; with those of one step the last alone."""
    for n_steps, ends in ((4, 1.0), (1, 0.25)):
        training = suggesting(4, {"ddpg.n_steps": n_steps, "ddpg.epsilon": 0.0})
        ddpg_update(*training)
        steps = stored(training)
        assert float((steps.discount == 0).float().mean()) == ends
        at_last = steps.histories.elapsed == 0.75
        assert (steps.discount[at_last] == 0).all()
        assert set(steps.histories.elapsed.tolist()) == {0, 0.25, 0.5, 0.75}


def test_a_log_that_is_used_up_is_stored_as_an_end_and_nothing_after_it() -> None:
    """Of one step each: its steps up to the end, one of them terminal."""
    training = playing(horizon=99, changes={"ddpg.n_steps": 1})
    ddpg_update(*training)
    kept, sessions = stored(training), training.agent.config.env.sessions
    assert int((kept.discount == 0).sum()) == sessions
    assert len(kept.item) < sessions * 16, "sessions end at different times"


def test_returns_of_one_step_are_what_happened() -> None:
    training = playing(3, {"ddpg.n_steps": 1})
    ddpg_update(*training)
    steps = stored(training)
    liked = steps.reward == 1  # enters the memory as its latest item
    assert torch.equal(steps.next_histories.item[liked, -1], steps.item[liked])
    assert torch.equal(steps.next_histories.item[~liked], steps.histories.item[~liked])
    assert liked.any()
    assert not liked.all()


def test_returns_of_several_steps_are_the_discounted_sums_of_those_of_one() -> None:
    """Without exploration, to the end of sessions that have one."""
    ends = []
    for n_steps in (1, 5):
        training = suggesting(5, {"ddpg.n_steps": n_steps, "ddpg.epsilon": 0.0})
        ddpg_update(*training)
        ends.append(stored(training))
    one, all_of_them = (steps.reward.view(5, 16) for steps in ends)
    for t in range(5):
        expected = sum(0.9**later * one[t + later] for later in range(5 - t))
        torch.testing.assert_close(all_of_them[t], expected)
    assert torch.equal(ends[0].item, ends[1].item)


def test_q_is_reported_beside_the_return_that_followed() -> None:
    """By hand, of sessions without exploration: first, middle and last step."""
    training = suggesting(4, {"ddpg.epsilon": 0.0})
    agent = training.agent
    played = play(agent, training.environment)
    report = calibration_of(agent, played, 7, 24)
    for name, step in {"first": 0, "middle": 2, "last": 3}.items():
        returns = sum(0.9**later * played.reward[step + later] for later in range(4 - step))
        with torch.no_grad():
            q = agent.critic(played.observations[step], played.item[step])
        assert report[f"return_{name}"] == pytest.approx(float(returns.mean()), abs=1e-5)
        assert report[f"q_{name}"] == pytest.approx(float(q.mean()), abs=1e-4)
    later = played.reward[2] + 0.9 * played.reward[3]
    assert report["return_spread"] == pytest.approx(float(later.std()), abs=1e-5)


def test_returns_that_hold_an_exploring_step_are_not_reported() -> None:
    """Of those cut short nobody knows what the policy would have earned to the end."""
    training = suggesting(4, {"ddpg.epsilon": 0.0})
    played = play(training.agent, training.environment)
    greedy = played.greedy.clone()
    greedy[3, 4:] = False  # four sessions go on to the end
    cut = calibration_of(training.agent, played._replace(greedy=greedy), 7, 24)
    returns = sum(0.9**later * played.reward[later] for later in range(4))
    assert cut["return_first"] == pytest.approx(float(returns[:4].mean()), abs=1e-5)
    assert cut["return_last"] == pytest.approx(float(played.reward[3].mean()), abs=1e-5)
    greedy[3] = False
    none = calibration_of(training.agent, played._replace(greedy=greedy), 7, 24)
    assert "return_first" not in none


def test_the_effective_share_of_a_batch_is_that_of_its_weights() -> None:
    training = playing(4)
    weights = torch.tensor([1.0, 1.0, 0.5, 0.25] * 4)
    sample = training.replay.sample
    training.replay.sample = lambda *how: (sample(*how)[0], weights, sample(*how)[2])
    share = (16 * 0.6875) ** 2 / (4 * 2.3125) / 16
    assert ddpg_update(*training)["effective_sample_share"] == pytest.approx(share)
    uniform = playing(4, {"ddpg.replay": "uniform"})
    assert ddpg_update(*uniform)["effective_sample_share"] == pytest.approx(1)


class Teller:
    """An agent whose TD errors say which item a transition is about."""

    keeps_action = supervised = False

    def __init__(self, training: Training) -> None:
        agent = training.agent
        self.config, self.generator, self.updated = agent.config, agent.generator, 0
        self.explore, self.new_noise, self.weights = agent.explore, agent.new_noise, []
        self.targets, self.q_taken, self.actor = agent.targets, agent.q_taken, agent.actor

    def update(self, batch, weights: Tensor, _: object) -> tuple[dict[str, float], Tensor]:
        self.weights.append(weights)
        self.updated += 1
        return {}, batch.item + 1.0


def test_priorities_are_the_td_errors_of_the_update_and_its_weights_are_those_of_the_draw() -> None:
    training = playing(4, {"env.sessions": 64})
    teller, replay = Teller(training), training.replay
    for _ in range(32):
        ddpg_update(teller, *training[1:])
    places = torch.arange(len(replay))
    priority = replay.tree.get(places)
    told = (replay.take(places).item + 1.0 + replay.eps) ** replay.alpha
    drawn = torch.isclose(priority, told.double())
    assert drawn.float().mean() > 0.5, "many have been drawn by now"
    assert all(float(weights.max()) == 1 for weights in teller.weights)
    assert sum(bool((weights < 1).any()) for weights in teller.weights) > 20


def test_noise_starts_anew_with_every_round_of_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    training = playing(2, {"ddpg.ou_sigma": 0.1})
    explore, walks = training.agent.explore, []

    def watched(histories: Histories, excluded: Tensor, noise: OUNoise) -> Choice:
        walks.append(float(noise.x.abs().max()))
        return explore(histories, excluded, noise)

    monkeypatch.setattr(training.agent, "explore", watched)
    for _ in range(2):
        play(training.agent, training.environment)
    assert [size > 0 for size in walks] == [False, True] * 2


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_demonstrations_are_drawn_where_the_actor_learns_from_them(weight: float) -> None:
    training, drawn = playing(4, {"ddpg.updates": 8, "ddpg.bc_weight": weight}), []

    class Counted:
        def __next__(self) -> object:
            drawn.append(training.agent.updated)
            return next(training.demonstrations)

    for _ in range(8):
        ddpg_update(training.agent, training.environment, Counted(), training.replay)
    assert drawn == ([2, 3, 4, 5, 6, 7] if weight else [])


# ------------------------------------------------------ interrupted, and going on from there


def checkpoints_for(folder: Path, config: Config, **options) -> Checkpoints:
    return Checkpoints(folder, "toy", config, log_for(config), **options)


def everything(training: Training, trained: Trained) -> dict[str, Any]:
    """All that must agree between a training in one go and one in pieces."""
    agent, replay = training.agent, training.replay.state_dict()
    found = {f"best {stage} {n}": w for stage, ws in trained.weights.items() for n, w in ws.items()}
    found |= weights_of(agent)
    found |= {f"replay {name}": column for name, column in replay.pop("columns").items()}
    found |= {f"replay {name}": value for name, value in replay.items()}
    found |= {f"session {name}": v for name, v in training.environment.state_dict().items()}
    found["generator"] = agent.generator.get_state()
    for name in ("actor", "critic"):
        moments = getattr(agent, f"{name}_optimizer").state_dict()["state"]
        found |= {f"Adam {name} {i} {k}": v for i, each in moments.items() for k, v in each.items()}
    return found


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    assert ours.keys() == theirs.keys()
    return [k for k, v in ours.items() if not np.array_equal(np.asarray(v), np.asarray(theirs[k]))]


@pytest.fixture(scope="module")
def in_one_go() -> dict[str, tuple[dict[str, Any], Trained]]:
    """The end of an uninterrupted training, by the name of its state."""
    size, PooledDropout.SIZE = PooledDropout.SIZE, 2**12
    ends = {}
    for name, config in AGENTS.items():
        training = build(config, log_for(config))
        trained = train(training, validate=validate, metric="score")
        ends[name] = everything(training, trained), trained
    PooledDropout.SIZE = size
    return ends


@pytest.mark.parametrize("stop", [1, PRETRAIN, PRETRAIN + 1, 8, TOTAL])
@pytest.mark.parametrize("name", AGENTS)
def test_an_interrupted_training_ends_as_the_uninterrupted_one(
    name: str, stop: int, tmp_path: Path, in_one_go: dict
) -> None:
    """In either stage, at their border, and in the last update; to the last bit."""
    config = AGENTS[name]
    checkpoints, log = checkpoints_for(tmp_path, config), log_for(config)
    options = {"validate": validate, "metric": "score", "checkpoints": checkpoints}
    with pytest.raises(Interrupted):
        train(
            build(config, log),
            callbacks=at(stop, lambda: signal.raise_signal(signal.SIGINT)),
            **options,
        )
    torch.manual_seed(stop)  # nobody draws from the global generator
    training = build(config, log)
    trained = train(training, **options)
    whole, whole_trained = in_one_go[name]
    assert differences(whole, everything(training, trained)) == []
    assert trained.history.equals(whole_trained.history)


@pytest.mark.parametrize("name", AGENTS)
def test_a_training_that_crashed_goes_on_from_its_last_checkpoint(
    name: str, tmp_path: Path, in_one_go: dict
) -> None:
    """Three times, at updates after which nothing was written."""
    config = AGENTS[name]
    options = {"validate": validate, "metric": "score"}
    options["checkpoints"] = checkpoints_for(tmp_path, config, every=3600)

    def crash() -> None:
        raise MemoryError

    for update in (2, 5, 8):
        with pytest.raises(MemoryError):
            train(build(config, log_for(config)), callbacks=at(update, crash), **options)
    seen = []
    training = build(config, log_for(config))
    trained = train(training, callbacks=(lambda p: seen.append(p.update),), **options)
    assert seen[0] == 7, "the last validation before the crash was at 6"
    assert differences(in_one_go[name][0], everything(training, trained)) == []


def test_the_end_of_the_pretraining_has_a_folder_of_its_own(tmp_path: Path) -> None:
    config = AGENTS["DRR-ave"]
    kept, shared = (checkpoints_for(tmp_path, each) for each in (config, config.pretraining()))
    with pytest.raises(ValueError, match="are both kept in .*: name a folder for each"):
        train(build(config, log_for(config)), checkpoints=kept, pretrained=shared)


def first_update(config: Config, checkpoints: Checkpoints) -> int:
    """The update that a training makes first, if it finds those checkpoints."""
    seen: list[int] = []

    def callback(progress: Progress) -> None:
        seen.append(progress.update)
        raise MemoryError

    with pytest.raises(MemoryError):
        train(build(config, log_for(config)), checkpoints=checkpoints, callbacks=(callback,))
    return seen[0]


@pytest.mark.parametrize(("every", "lost"), [(0, 1), (3600, 3)])
def test_a_crash_costs_the_updates_since_the_last_checkpoint(
    every: float, lost: int, tmp_path: Path
) -> None:
    """Written after every update, or only where validation is due: here at 0, 3 and 4."""
    config = AGENTS["DRR-ave"]
    checkpoints = checkpoints_for(tmp_path, config, every=every)

    def crash() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        train(build(config, LOG), checkpoints=checkpoints, callbacks=at(3, crash))
    assert first_update(config, checkpoints) == 3 + 1 - lost


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    config, seen = AGENTS["DRR-ave"], []
    checkpoints = checkpoints_for(tmp_path, config)
    first = train(build(config, LOG), checkpoints=checkpoints)
    again = train(build(config, LOG), checkpoints=checkpoints, callbacks=(seen.append,))
    assert seen == []
    assert same(first.weights["final"], again.weights["final"])
    assert first.history.equals(again.history)


def test_figures_of_any_number_type_can_be_gone_on_from(tmp_path: Path) -> None:
    config = AGENTS["DRR-ave"]
    options = {"metric": "score", "checkpoints": checkpoints_for(tmp_path, config)}
    options["validate"] = lambda agent: {
        name: np.float64(value) for name, value in validate(agent).items()
    }
    with pytest.raises(Interrupted):
        train(
            build(config, LOG),
            callbacks=at(5, lambda: signal.raise_signal(signal.SIGINT)),
            **options,
        )
    assert len(train(build(config, LOG), **options).history) == TOTAL + 1


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_stops_the_training_after_the_update_under_way(
    number: signal.Signals, tmp_path: Path
) -> None:
    config = AGENTS["DRR-ave"]
    checkpoints = checkpoints_for(tmp_path, config, every=3600)
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    agent = (training := build(config, LOG)).agent

    def twice() -> None:
        signal.raise_signal(number)
        signal.raise_signal(number)

    with pytest.raises(
        Interrupted, match="stopped after update 2 of 10.*resume from there"
    ) as caught:
        train(training, checkpoints=checkpoints, callbacks=at(2, twice))
    assert caught.value.signal == number
    assert isinstance(caught.value, KeyboardInterrupt), "a notebook stops here"
    assert str(checkpoints.latest) in str(caught.value)
    assert checkpoints.latest.exists()
    assert agent.pretrained == 2
    assert first_update(config, checkpoints) == 3
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before


def test_without_checkpoints_an_interrupt_says_that_nothing_was_kept() -> None:
    with pytest.raises(Interrupted, match="nothing was kept"):
        train(small(), callbacks=at(3, lambda: signal.raise_signal(signal.SIGINT)))


def test_the_handlers_come_back_after_a_training_and_after_an_error() -> None:
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    train(small())
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before
    with pytest.raises(ZeroDivisionError):
        train(small(), callbacks=at(1, lambda: 1 // 0))
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before


def test_a_training_runs_outside_the_main_thread() -> None:
    ended: list[Trained] = []
    thread = threading.Thread(target=lambda: ended.append(train(small())))
    thread.start()
    thread.join()
    assert len(ended[0].history) == TOTAL + 1


# ---------------------------------------------------------------------------------- no number


def numbers_in(value: Any) -> Iterator[Tensor]:
    """Every number of a checkpoint, however deep."""
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, Tensor):
        yield value.double() if value.is_floating_point() else torch.zeros(())
    elif isinstance(value, float):
        yield torch.tensor(value)
    elif not isinstance(value, (str, int, type(None))):
        for part in value:
            yield from numbers_in(part)


def content_of(checkpoints: Checkpoints) -> list[Tensor]:
    """Of both generations, as they are loaded."""
    kept: list[Any] = []

    class Keeper:
        def load_state_dict(self, state: dict[str, Any]) -> None:
            kept.append(state)

    for _ in range(2):
        kept.append(checkpoints.load(dict.fromkeys(Training._fields, Keeper())))
        checkpoints.latest.unlink(missing_ok=True)
    return list(numbers_in(kept))


@pytest.mark.parametrize("field", ["pretrain.lr", "critic_lr", "ddpg.actor_lr"])
def test_a_training_that_diverges_says_so_and_keeps_no_nan(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of 1e30 and more after the first update at that rate."""
    config = changed(SMALL, BRIEF | {"ddpg.updates": 10})
    if field == "critic_lr":
        monkeypatch.setattr(ddpg.DDPG, field, 1e35)
    else:
        config = config.with_field(field, 1e35)
    checkpoints = checkpoints_for(tmp_path, config, every=0)
    with pytest.raises(Diverged, match=r"^update \d+: (the loss|a score) is .*the last good state"):
        train(build(config, LOG), checkpoints=checkpoints)
    numbers = content_of(checkpoints)
    assert len(numbers) > 100
    assert all(torch.isfinite(number).all() for number in numbers)


def test_scores_that_validation_cannot_rank_are_a_training_that_diverges(tmp_path: Path) -> None:
    """The loss of the only update came before the weights that it made."""
    config = changed(SMALL, {"pretrain.updates": 1, "ddpg.updates": 0, "pretrain.lr": 1e35})

    def validate(agent: DDPG) -> dict[str, float]:
        checked_scores(agent.score, LOG.histories(torch.arange(3)), LOG.n_items)
        return {"score": 0.5}

    checkpoints = checkpoints_for(tmp_path, config, every=0)
    with pytest.raises(Diverged, match="a score is NaN or infinite.*the last good state is"):
        train(build(config, LOG), validate=validate, metric="score", checkpoints=checkpoints)


def test_a_reward_that_is_no_number_enters_no_checkpoint(tmp_path: Path) -> None:
    """In the first round of sessions, at their last step."""
    config = changed(SMALL, BRIEF | {"ddpg.replay": "uniform"})
    checkpoints = checkpoints_for(tmp_path, config, every=0)
    calls = []

    def reward(stars: Tensor) -> Tensor:
        calls.append(1)
        values = stars - 3
        values[-1] = math.nan if len(calls) == 4 else values[-1]
        return values

    with pytest.raises(Diverged, match="^update 5: a reward is .*the last good state is"):
        train(build(config, LOG, reward=reward), checkpoints=checkpoints)
    assert all(torch.isfinite(number).all() for number in content_of(checkpoints))
