"""The one training loop: supervised pretraining, then DDPG."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from recsys_rl.agent import rank_states
from recsys_rl.agent.build import Training
from recsys_rl.agent.checkpoint import Checkpoints
from recsys_rl.agent.ddpg import DDPG, HELP, Diverged, Losses
from recsys_rl.agent.demonstrations import Demonstrations
from recsys_rl.agent.progress import Progress, Weights
from recsys_rl.agent.replay import ReplayBuffer
from recsys_rl.agent.returns import Played, transitions_of
from recsys_rl.data import ranks
from recsys_rl.data.atomic_files import STOP_SIGNALS
from recsys_rl.data.bars import on_stderr
from recsys_rl.data.devices import figure, on_cpu, read_every
from recsys_rl.envs.base import SessionEnv
from recsys_rl.evaluation.scores import NoScores

Validate = Callable[[DDPG], dict[str, float]]


class Interrupted(KeyboardInterrupt):
    """A training was asked to stop. `signal` is the number of the signal."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


Callback = Callable[[Progress], None]  # called after every update


@dataclass(frozen=True)
class Trained:
    """history: one row an update, as in `training.csv`. weights: "pretrained" and "final", the
    actor's best by validation in either stage; the agent is left with the final ones. seconds: wall
    and CPU time of the updates."""

    history: pd.DataFrame
    weights: dict[str, Weights]
    seconds: tuple[float, float]


def train(
    training: Training,
    *,
    validate: Validate | None = None,
    metric: str = "",
    checkpoints: Checkpoints | None = None,
    pretrained: Checkpoints | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> Trained:
    """Pretrain the actor, then improve it by DDPG.

    validate: measured before the first update, every `config.validate_every` updates and at the end
    of both stages; the weights with the best `metric` are kept, without `validate` the last ones.
    checkpoints: written as the training goes, and when a signal asks it to stop (Interrupted); a
    training that finds its own goes on from there. The last one stays until the caller removes it.
    pretrained: keeps the end of the pretraining, for agents that differ in DDPG alone
    (`Config.pretraining`), in a folder of its own; a training that finds it there starts from it.

    In several processes (`data.ranks`) each of them calls this with its own share, and all validate
    together. Rank 0 saves and shows the progress; the others have the same history and weights.

    Raises Diverged where a loss is no number, BadCheckpoint and FolderInUse, and RankLost where
    another process of the training has ended.
    """
    _refuse_one_folder(checkpoints, pretrained)
    agent, environment, demonstrations, replay = training
    pretrain, config = agent.config.pretrain.updates, agent.config
    parts = training._asdict()
    common = {name: part for name, part in parts.items() if name != "replay"}  # still empty
    progress = Progress(total=pretrain + config.ddpg.updates)
    with (
        _told(progress, checkpoints),
        rank_states.hold(checkpoints),
        rank_states.hold(pretrained),
        _bar(progress, metric) as show,
        _stop_flag() as stop,
    ):

        def check(saved: dict[str, Any]) -> None:
            progress.check(saved, agent.actor.state_dict())

        saved = checkpoints and rank_states.load(checkpoints, parts, check)
        if saved := saved or (pretrained and rank_states.load(pretrained, common, check)):
            progress.restore(saved)
        while True:
            milestone = progress.update in (pretrain, progress.total)
            if milestone or progress.update % config.validate_every == 0:
                _read(progress, agent)
                _select(progress, agent, validate, metric, milestone)
                _save(checkpoints, parts, progress)
                if pretrained and progress.update == pretrain and _missing(pretrained):
                    _save(pretrained, common, progress)
            show(progress)
            if signalled := int(ranks.largest(stop[0] if stop else 0)):
                raise _interrupted(progress, checkpoints, signalled)
            if progress.update == progress.total:
                break
            with _timed(progress):
                if progress.update < pretrain:
                    report = agent.pretrain(next(demonstrations))
                else:
                    if progress.update == pretrain:
                        agent.start_ddpg()
                    report = ddpg_update(agent, environment, demonstrations, replay)
            progress.update += 1
            stage = "pretrain" if progress.update <= pretrain else "ddpg"
            progress.rows.append({"update": progress.update, "stage": stage} | report)
            for callback in callbacks:
                callback(progress)
            if progress.update % read_every(agent.device) == 0:
                _read(progress, agent)
            due = checkpoints and ranks.rank() == 0 and checkpoints.due  # who writes says when
            if ranks.largest(bool(stop or due)):
                _read(progress, agent)
                _save(checkpoints, parts, progress)
    if not config.ddpg.updates:  # no DDPG at all
        progress.weights["final"] = progress.weights["pretrained"]
    agent.actor.load_state_dict(progress.weights["final"])
    return Trained(pd.DataFrame(progress.rows), progress.weights, tuple(progress.seconds))


def _refuse_one_folder(checkpoints: Checkpoints | None, pretrained: Checkpoints | None) -> None:
    """ValueError where both would hold the same folder, which one training at a time may."""
    if checkpoints and pretrained:
        here, there = (each.folder.resolve() for each in (checkpoints, pretrained))
        if here == there:
            raise ValueError(
                f"checkpoints and pretrained are both kept in {here}: name a folder for each"
            )


def ddpg_update(
    agent: DDPG, environment: SessionEnv, demonstrations: Demonstrations, replay: ReplayBuffer
) -> Losses:
    """One update of the agent from the replay; before every T-th, sessions of T steps are played.

    At least as many transitions are replayed as are played; more where sessions end early.
    """
    report = {}
    if agent.updated % environment.horizon == 0:
        played, config = play(agent, environment), agent.config.ddpg
        form = replay.width, replay.n_items
        replay.add(transitions_of(played, config.gamma, config.n_steps, *form))
        report = {"reward": float(played.reward[played.active].mean())}
        report |= calibration_of(agent, played, *form)
    batch, weights, places = replay.sample(environment.sessions, agent.generator)
    demonstration = next(demonstrations) if agent.supervised else None
    losses, td_error = agent.update(batch.among(environment.candidates), weights, demonstration)
    replay.update_priorities(places, td_error)
    effective = weights.sum().square() / weights.square().sum() / len(weights)
    return losses | report | {"effective_sample_share": figure(effective)}


def play(agent: DDPG, environment: SessionEnv) -> Played:
    """All sessions from their start to their end, exploring."""
    environment.reset()
    noise = agent.new_noise(environment.sessions)
    observations, steps = [environment.observation()], []
    while not environment.over:
        choice = agent.explore(observations[-1], environment.excluded, noise)
        shown = choice.action if environment.takes_vectors else choice.item
        after, reward, terminated, _, info = environment.step(shown)
        fine = (reward.isfinite() | ~info["active"]).all()
        if not on_cpu(fine):
            agent.failed |= ~fine
        elif not fine:
            raise Diverged("a reward is NaN or infinite")
        observations.append(after)
        told = choice.item, reward, terminated, info["active"], choice.greedy
        steps.append((*told, choice.action) if agent.keeps_action else told)
    return Played(observations, *(torch.stack(column) for column in zip(*steps, strict=True)))


def calibration_of(agent: DDPG, played: Played, width: int, n_items: int) -> Losses:
    """Q of what was done beside the return that followed: first, middle and last step, mean.

    Of returns that hold rewards of the policy alone, to the end of the session. Where sessions have
    no end that counts: of all, with Q' where the agent explored or the collecting ended.
    """
    steps = agent.config.env.horizon
    whole = transitions_of(played, agent.config.ddpg.gamma, steps, width, n_items)
    step = played.active.nonzero()[:, 0]
    ended = whole.discount == 0 if played.finite else torch.ones_like(step, dtype=torch.bool)
    report = {}
    for name, when in {"first": 0, "middle": steps // 2, "last": steps - 1}.items():
        rows = ((step == when) & ended).nonzero().squeeze(1)
        if len(rows) > 1:
            batch = whole.at(rows)
            returns = agent.targets(batch)
            with torch.no_grad():
                q = agent.q_taken(batch)
            report |= {f"q_{name}": float(q.mean()), f"return_{name}": float(returns.mean())}
            if name == "middle":
                report["return_spread"] = float(returns.std())
                if agent.actor.squashed:
                    with torch.no_grad():
                        action = agent.actor(batch.histories)
                    report["saturated"] = float((action.abs() > 0.99).float().mean())
    return report


def _select(
    progress: Progress, agent: DDPG, validate: Validate | None, metric: str, milestone: bool
) -> None:
    """Validate and keep the weights, if they are the best of their stage."""
    stage = "pretrained" if progress.update <= agent.config.pretrain.updates else "final"
    if validate is None:
        value = float(progress.update) if milestone else None
    else:
        # a checkpoint takes plain numbers alone
        try:
            measured = {name: float(figure) for name, figure in validate(agent).items()}
        except NoScores:  # of weights that are too large
            raise Diverged(f"a score is NaN or infinite: {HELP}") from None
        if taken := {"update", "stage"} & set(measured):
            raise ValueError(f"validation has a figure {min(taken)!r}, which the history names")
        figures = ranks.from_first(lambda: measured)  # of one machine, to the last bit
        value = figures.get(metric, math.nan)
        if not math.isfinite(value):
            raise ValueError(f"validation gives no number for {metric!r} to choose by: {figures}")
        progress.rows[-1] |= figures
    if value is not None and value > progress.best.get(stage, float("-inf")):
        progress.best[stage] = value
        progress.weights[stage] = _copied(agent.actor)


def _read(progress: Progress, agent: DDPG) -> None:
    """Losses that are still tensors become numbers, all at once; Diverged if something was none.

    Before weights are kept or a checkpoint is written, so that both are of the last good state.
    """
    latest = progress.rows[-read_every(agent.device) :]
    unread = [(row, name) for row in latest for name in row if isinstance(row[name], Tensor)]
    if unread:
        with _timed(progress):  # it waits for all updates since
            numbers = torch.stack([row[name].float() for row, name in unread]).tolist()
        for (row, name), number in zip(unread, numbers, strict=True):
            row[name] = number
    agent.check()


def _copied(network: nn.Module) -> Weights:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _save(checkpoints: Checkpoints | None, parts: dict[str, Any], progress: Progress) -> None:
    if checkpoints:
        rank_states.save(checkpoints, parts, dict(vars(progress)))


def _missing(checkpoints: Checkpoints) -> bool:
    return ranks.from_first(lambda: not checkpoints.latest.exists())


def _interrupted(progress: Progress, checkpoints: Checkpoints | None, number: int) -> Interrupted:
    kept = (
        f"the checkpoint is {checkpoints.latest}, resume from there"
        if checkpoints
        else "nothing was kept, since no folder for checkpoints was given"
    )
    where = f"stopped after update {progress.update} of {progress.total}"
    return Interrupted(f"{where}: {kept}", number)


@contextlib.contextmanager
def _told(progress: Progress, checkpoints: Checkpoints | None) -> Iterator[None]:
    """What ends the training comes with a word about where it stood."""
    try:
        yield
    except (Diverged, ranks.RankLost) as error:
        kept = f"; the last good state is {checkpoints.latest}" if checkpoints else ""
        raise type(error)(f"update {progress.update + 1}: {error}{kept}") from None


@contextlib.contextmanager
def _timed(progress: Progress) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    spent = time.perf_counter() - wall, time.process_time() - cpu
    progress.seconds = [a + b for a, b in zip(progress.seconds, spent, strict=True)]


@contextlib.contextmanager
def _stop_flag() -> Iterator[list[int]]:
    """A list that receives the number of a signal that asks to stop.

    An exception could leave actor and critic half a step apart; a flag cannot. Outside the main
    thread, where no signal arrives, it stays empty.
    """
    flag: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    # nohup and shells have signals ignored; None is a handler that Python cannot put back
    heeded = [s for s in STOP_SIGNALS if signal.getsignal(s) not in (signal.SIG_IGN, None)]
    before = {each: signal.signal(each, lambda n, _: flag.append(n)) for each in heeded}
    try:
        yield flag
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def _bar(progress: Progress, metric: str) -> Iterator[Callback]:
    """A progress bar with the stage, the latest losses, the reward and the validation metric."""
    shown = "pretrain_loss", "critic_loss", "reward", metric
    with tqdm(total=progress.total, mininterval=1, unit="update", **on_stderr()) as bar:
        figures: dict[str, float] = {}

        def show(progress: Progress) -> None:
            row = progress.rows[-1]
            if row["stage"] == "ddpg":
                figures.pop("pretrain_loss", None)
            figures.update({n: row[n] for n in shown if isinstance(row.get(n), float)})
            bar.set_description(row["stage"], refresh=False)
            text = {name: f"{value:.3f}" for name, value in figures.items()}
            bar.set_postfix(text, refresh=False)
            bar.update(progress.update - bar.n)

        yield show
