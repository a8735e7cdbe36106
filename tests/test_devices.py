"""Where tensors live: on the "meta" device, which has shapes and no numbers, a tensor that was made
in another place is an error, and so is every question whose answer the processor would wait for."""

import copy
import dataclasses
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toys import SMALL, SMALL_SET, changed, mixed_log, weights_of

from recsys_rl.agent import build as building
from recsys_rl.agent import ddpg, training
from recsys_rl.agent.build import GRADIENTS, build
from recsys_rl.agent.checkpoint import Checkpoints
from recsys_rl.agent.config import DEVICES, Config
from recsys_rl.agent.ddpg import DDPG, Diverged
from recsys_rl.agent.demonstrations import HindsightBatch, NextItem, OnPolicyDemonstrations, Window
from recsys_rl.agent.losses import Sample, full_softmax, hindsight_loss, sampled_softmax
from recsys_rl.agent.networks import Actor
from recsys_rl.agent.replay import PrioritizedReplayBuffer, ReplayBuffer, Transitions
from recsys_rl.agent.training import ddpg_update, train
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.data.candidates import drawn, items_at
from recsys_rl.data.devices import CPU, generator_on, products, resolved, set_state
from recsys_rl.data.effects import WIDTH
from recsys_rl.data.histories import Histories, Times
from recsys_rl.envs.base import SessionEnv
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.envs.consequences import Consequence, ConsequencesEnv
from recsys_rl.envs.logged import LoggedEnv
from recsys_rl.envs.simulated import SimulatedEnv, Simulator
from recsys_rl.envs.user_leaves import LeavingWorld, UserLeavesEnv
from recsys_rl.evaluation.metrics import hit_rate, ndcg, rank_counts, sampled_metrics
from recsys_rl.evaluation.scores import top_k
from recsys_rl.states.belief import Belief
from recsys_rl.states.registry import STATES

META = torch.device("meta")
USERS, ITEMS, B, T = 9, 24, 6, 4
MOVES = {"aten::_to_copy", "aten::copy_"}


class OnePlace(TorchDispatchMode):
    """An error where tensors of two devices meet, but for single numbers and for moves."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.dim()]
        places = {x.device.type for x in tensors}
        if len(places) > 1 and func._schema.name not in MOVES:
            raise AssertionError(f"{func._schema.name} of tensors on {sorted(places)}")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Agents are made on the meta device; generators, which it has not, stay on the CPU."""
    for module in (ddpg, building):
        monkeypatch.setattr(module, "resolved", lambda name: META)
        monkeypatch.setattr(module, "generator_on", lambda device, seed: generator_on(CPU, seed))
    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
    with OnePlace():
        yield


def stepped(optimizer: torch.optim.Optimizer) -> None:
    """Fused Adam has no form without numbers."""
    tensors = [p for group in optimizer.param_groups for p in group["params"]]
    tensors += [p.grad for p in tensors if p.grad is not None]
    assert {each.device for each in [*tensors, optimizer.found_inf]} == {META}


def whole(high: int, *size: int) -> Tensor:
    return torch.zeros(size, dtype=torch.int64, device=META)


def histories(width: int = 5, shown: int = 0) -> Histories:
    numbers = torch.zeros(B, width, device=META), torch.zeros(B, device=META)
    beside = whole(ITEMS, B, shown) if shown else None
    return Histories(whole(USERS, B), whole(ITEMS, B, width), *numbers, beside)


def config_for(name: str, gradient: str = "expected") -> Config:
    if gradient == "soft":
        changes = {"env.name": "user-leaves", "state.n": 9, "env.n_seed": 1, "ddpg.bc_weight": 0.0}
        changes |= {"state.name": name, "ddpg.gradient": gradient}
        return SMALL.with_fields(changes)
    base = SMALL_SET if name == "DRR-set" else SMALL
    changes = {"state.name": name, "ddpg.gradient": gradient, "ddpg.bc_weight": 0.5}
    if name == "DRR-set":
        changes |= {"state.embeddings": "random"}
    if gradient == "deterministic":
        changes |= {"ddpg.ou_sigma": 0.2}
    return changed(base, changes)


def agent_of(config: Config) -> DDPG:
    linear = None
    if config.state.linear:
        mean, components = torch.zeros(ITEMS, device=META), torch.zeros(ITEMS, 7, device=META)
        linear = GaussianLikes(mean, components, torch.ones(ITEMS, device=META), config.state.n)
    return GRADIENTS[config.ddpg.gradient](config, USERS, ITEMS, None, linear)


def transitions(agent: DDPG) -> Transitions:
    width = agent.actor.state.item_vectors.embedding_dim if agent.keeps_action else 0
    action = torch.zeros(B, width, device=META) if width else None
    number = torch.zeros(B, device=META)
    return Transitions(histories(), whole(ITEMS, B), number, histories(), number, action)


def demonstration(agent: DDPG) -> HindsightBatch | NextItem | Window:
    if agent.actor.state.windows:
        return Window(whole(ITEMS, B, 7), whole(ITEMS, B, 7))
    if agent.config.env.name == "logged":
        return NextItem(histories(), whole(ITEMS, B))
    relevant = torch.zeros(B, ITEMS, dtype=torch.bool, device=META)
    return HindsightBatch(agent.actor.read(histories()), relevant, relevant)


AGENTS = [
    *((name, "expected") for name, state in STATES.items() if not issubclass(state, Belief)),
    ("DRR-ave", "deterministic"),
    ("belief", "soft"),
    ("affected", "soft"),
]


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(("name", "gradient"), AGENTS)
def test_an_agent_acts_and_learns_where_it_lives_and_waits_for_nothing(name, gradient):
    agent = agent_of(config_for(name, gradient))
    assert {each.device for each in weights_of(agent).values()} == {META}
    excluded = torch.zeros(B, ITEMS, dtype=torch.bool, device=META)
    noise = agent.new_noise(B)
    assert agent.explore(histories(), excluded, noise).item.device == META
    assert agent.act(histories(), excluded).device == META
    assert agent.score(histories().to(META)).shape == (B, ITEMS)
    reports = []
    if gradient != "soft":
        reports.append(agent.pretrain(demonstration(agent)))
    agent.start_ddpg()
    agent.updated = agent.config.ddpg.updates  # the actor learns, too
    given = demonstration(agent) if agent.supervised else None
    report, td_error = agent.update(transitions(agent), torch.ones(B, device=META), given)
    assert td_error.device == META
    for name, figure in [item for each in (*reports, report) for item in each.items()]:
        assert isinstance(figure, Tensor), name
        assert (figure.device, figure.dim(), figure.requires_grad) == (META, 0, False)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", ["DRR-ave", "DRR-seq", "DRR-seq-clock"])
def test_samples_and_times_are_read_where_they_live(name: str) -> None:
    agent = agent_of(config_for(name))
    given = demonstration(agent)._replace(sample=Sample(whole(ITEMS, 5), torch.zeros(5).to(META)))
    if isinstance(given, Window):
        given = given._replace(times=Times(whole(9, B, 7), whole(9, B, 7)))
    assert agent.pretrain(given)["pretrain_loss"].device == META
    known = dataclasses.replace(histories(), time=whole(9, B, 5), request=whole(9, B))
    assert agent.score(known).shape == (B, ITEMS)


def moved(env: SessionEnv) -> SessionEnv:
    """A running environment, elsewhere."""
    env = copy.copy(env)
    for name, part in vars(env).items():
        if isinstance(part, Tensor | Histories | LeavingWorld | Simulator):
            setattr(env, name, part.to(META))
        if isinstance(part, Consequence):
            setattr(env, name, dataclasses.replace(part, films=part.films.to(META)))
    env.device = META
    return env


def environments() -> dict[str, Callable[[], SessionEnv]]:
    log, generator = mixed_log(n_items=ITEMS), generator_on(CPU, 0)
    rating, user = torch.full((USERS, ITEMS), 4.0), torch.rand(USERS, 3, generator=generator)
    close = torch.zeros(ITEMS, ITEMS, dtype=torch.bool)
    item = torch.rand(ITEMS, 3, generator=generator)
    common = {"sessions": B, "horizon": T, "generator": generator}
    return {
        "logged": lambda: LoggedEnv(log, **common),
        "cold-start": lambda: ColdStartEnv(log, **common),
        "cold-start, sampled": lambda: ColdStartEnv(log, n_candidates=12, **common),
        "simulated": lambda: SimulatedEnv(Simulator(rating), series=0.1, **common),
        "consequences": lambda: ConsequencesEnv(
            Simulator(rating), Consequence(torch.zeros(ITEMS, WIDTH)), **common
        ),
        "user-leaves": lambda: UserLeavesEnv(
            LeavingWorld(user, item, close, torch.arange(ITEMS)), **common
        ),
    }


STARTED_FROM_ROWS = "logged", "cold-start", "cold-start, sampled"


@pytest.mark.parametrize("name", environments())
def test_an_environment_steps_where_it_lives(name: str) -> None:
    env = environments()[name]()
    env.reset()
    env = moved(env)
    with OnePlace():
        if name not in STARTED_FROM_ROWS:  # their number varies
            env.reset()
        for _ in range(T):
            assert not env.over
            item = items_at(env.candidates, env.excluded.int().argmin(1))
            observed, reward, terminated, truncated, info = env.step(item)
            parts = [observed.user, observed.item, observed.rating, observed.elapsed]
            parts += [reward, terminated, truncated, env.relevant, *info.values()]
            assert {part.device for part in parts if part is not None} == {META}
    assert env.over


def test_candidates_are_drawn_where_they_live() -> None:
    with OnePlace():
        candidates = drawn(torch.ones(ITEMS, device=META), 5, generator_on(CPU, 0))
    assert (candidates.device, candidates.shape) == (META, (5,))


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedReplayBuffer])
def test_a_replay_keeps_and_draws_where_it_lives(kind: type[ReplayBuffer]) -> None:
    replay = kind(5, ITEMS, 20, action=3, shown=2, device=META)
    seen, number = histories(shown=2), torch.zeros(B, device=META)
    action = torch.zeros(B, 3, device=META)
    replay.add(Transitions(seen, whole(ITEMS, B), number, seen, number, action))
    for _ in range(2):
        batch, weights, places = replay.sample(4, generator_on(CPU, 0))
        assert {batch.item.device, batch.histories.shown.device, weights.device} == {META}
        replay.update_priorities(places, number[:4])


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedReplayBuffer])
@pytest.mark.parametrize("name", ["simulated", "cold-start, sampled"])
def test_between_two_rounds_of_sessions_the_loop_waits_for_nothing(kind, name: str) -> None:
    agent = agent_of(config_for("DRR-set"))
    env = environments()[name]()
    env.reset()
    env = moved(env)
    replay = kind(5, ITEMS, 20, device=META)
    replay.add(transitions(agent))
    stream = OnPolicyDemonstrations(
        env, lambda seen, excluded: agent.explore(seen, excluded).item, read=agent.actor.read
    )
    assert agent.pretrain(next(stream))["pretrain_loss"].device == META
    agent.updated = 19  # the actor learns, too; sessions are played before every 4th
    environment = SimpleNamespace(horizon=4, sessions=B, candidates=env.candidates)
    report = ddpg_update(agent, environment, stream, replay)
    assert {"critic_loss", "actor_loss", "effective_sample_share"} <= set(report)
    assert all(figure.device == META for figure in report.values())


def test_metrics_are_counted_where_the_scores_are(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived = []
    monkeypatch.setattr(
        Tensor, "cpu", lambda t: (arrived.append(t), torch.zeros(t.shape, dtype=t.dtype))[1]
    )
    monkeypatch.setattr(Tensor, "nonzero", lambda t: whole(B, 0, t.dim()))  # nothing is tied
    scores, item = torch.zeros(B, ITEMS, device=META), whole(ITEMS, B)
    unseen = torch.ones(B, ITEMS, dtype=torch.bool, device=META)
    with OnePlace():
        counts = rank_counts(scores, item, unseen)
        assert (ndcg(*counts, 10).shape, hit_rate(*counts, 10).shape) == ((B,), (B,))
        sampled_metrics(scores, whole(B, B), item, whole(ITEMS, B, 9), 10)
        top = top_k(scores, unseen, 5, generator_on(CPU, 0))
    assert top.device == META
    assert {tuple(each.shape) for each in arrived} == {(B,)}  # a number for each user


# ------------------------------------------------- what is done off the CPU does the same


@pytest.fixture
def off_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, the forms of other devices are taken on this one."""

    def switch() -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("recsys_rl.") and hasattr(module, "on_cpu"):
                monkeypatch.setattr(module, "on_cpu", lambda where: False)

    return switch


def gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, inputs)]


def test_the_losses_of_the_library_are_those_of_the_cpu(off_cpu: Callable[[], None]) -> None:
    g = generator_on(CPU, 0)
    vectors, items = torch.randn(7, 3, generator=g), torch.randn(ITEMS, 3, generator=g)
    target = torch.randint(ITEMS, (7,), generator=g)
    relevant, excluded = torch.rand(2, 7, ITEMS, generator=g) < 0.2
    relevant[0], scores = False, torch.randn(7, ITEMS, generator=g)
    relevant &= ~excluded
    for part in (vectors, items, scores):
        part.requires_grad_()

    def found() -> list[Tensor]:
        first = gradients(full_softmax(vectors, items, target), vectors, items)
        second = hindsight_loss(scores * 1, relevant, excluded, 3.0)
        return [*first, *gradients(second, scores)]

    expected = found()
    off_cpu()
    torch.testing.assert_close(found(), expected)
    padded, more = torch.cat([target, torch.full((2,), ITEMS)]), torch.cat([vectors, vectors[:2]])
    same = full_softmax(more, items, padded)
    torch.testing.assert_close(same.detach(), expected[0])
    sample = Sample(torch.arange(5), torch.zeros(5))
    of_sample = sampled_softmax(vectors, items, target, sample)
    torch.testing.assert_close(sampled_softmax(more, items, padded, sample), of_sample)


@pytest.mark.parametrize(
    ("precision", "close"), [("float32", (1e-5, 1e-4)), ("bfloat16", (3e-3, 0.05))]
)
@pytest.mark.parametrize("name", ["DRR-ave", "DRR-seq", "DRR-seq-clock", "DRR-set"])
def test_an_agent_computes_the_same_in_both_forms(
    name: str, precision: str, close: tuple[float, float], off_cpu: Callable[[], None]
) -> None:
    log = mixed_log()
    made = build(config_for(name), log)
    agent = made.agent
    given = next(made.demonstrations)
    played = training.play(agent, made.environment)
    form = made.replay.width, made.replay.n_items
    batch = training.transitions_of(played, 0.9, 3, *form)
    timed = log.histories(torch.arange(4), times=True)
    timed = dataclasses.replace(timed, request=log.timestamp.max().expand(4) + 7)
    if name == "DRR-seq-clock":  # what times are worth starts at nothing
        with torch.no_grad():
            for part in agent.actor.state.parameters():
                part.add_(0.1 * torch.randn(part.shape, generator=generator_on(CPU, 0)))

    def found() -> list[Tensor]:
        with products(CPU, precision):
            loss = given.loss(agent.actor)
        named = agent.actor.state.named_parameters()
        inputs = [part for path, part in named if path.endswith(("item_vectors.weight", "since"))]
        slopes = gradients(loss, *inputs)
        scores = agent.score(batch.histories), agent.score(timed)
        return [*scores, agent.targets(batch), *slopes]

    expected = found()
    off_cpu()
    torch.testing.assert_close(found(), expected, atol=close[0], rtol=close[1])


def test_replay_draws_the_same_in_both_forms(off_cpu: Callable[[], None]) -> None:
    def drawn() -> list[Tensor]:
        replay, g = PrioritizedReplayBuffer(3, ITEMS, 50), generator_on(CPU, 0)
        n = torch.arange(40)
        seen = Histories(n, torch.full((40, 3), 5), torch.zeros(40, 3), torch.zeros(40))
        replay.add(Transitions(seen, n % ITEMS, n / 7, seen, n / 50))
        found = []
        for _ in range(5):
            batch, weights, places = replay.sample(30, g)
            replay.update_priorities(places, (batch.item - 3) / 4)
            found += [batch.item, weights, places]
        replay.add(Transitions(seen, n % ITEMS, n / 7, seen, n / 50))
        return [*found, torch.as_tensor(replay.state_dict()["largest"]), replay.tree.nodes]

    expected = drawn()
    off_cpu()
    torch.testing.assert_close(drawn(), expected)


def test_items_are_sampled_by_the_softmax_without_a_look_at_it(off_cpu) -> None:
    off_cpu()
    scores = torch.tensor([[0.0, 1.0, 2.0, 5.0]]).expand(20_000, -1)
    excluded = torch.tensor([False, False, False, True]).expand(20_000, -1)
    item = ddpg.epsilon_sampled(
        torch.full((20_000,), 3), scores, excluded, torch.tensor(0.5), generator_on(CPU, 0)
    )
    share = item.bincount(minlength=4) / 20_000
    expected = torch.cat([scores[0, :3].softmax(0) / 2, torch.tensor([0.5])])
    torch.testing.assert_close(share, expected, atol=0.015, rtol=0)


# ------------------------------------------------------------------ losses that are read later


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are read every 8 updates, as off the CPU."""
    for module in (ddpg, training):
        monkeypatch.setattr(module, "read_every", lambda device: 8)
        monkeypatch.setattr(module, "figure", lambda value: value.detach())


def test_losses_that_are_read_later_are_the_same(request: pytest.FixtureRequest) -> None:
    config = changed(SMALL, {"validate_every": 7})
    expected = train(build(config, mixed_log()))
    request.getfixturevalue("later")
    found = train(build(config, mixed_log()))
    assert found.history.equals(expected.history)
    torch.testing.assert_close(found.weights, expected.weights, atol=0, rtol=0)


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(("stage", "bad", "told"), [("pretrain", 11, 16), ("update", 3, 24)])
def test_a_loss_that_is_no_number_changes_nothing_and_is_told_before_anything_is_kept(
    stage: str, bad: int, told: int, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = mixed_log()
    made = build(SMALL, log)
    agent, states, count = made.agent, [], 0
    descend, step = agent.descend, getattr(agent, stage)

    def poisoned(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        descend(optimizer, loss * (torch.nan if count == bad else 1))

    def counted(*given):
        nonlocal count
        count += 1
        states.append({n: w.clone() for n, w in agent.actor.state_dict().items()})
        return step(*given)

    monkeypatch.setattr(agent, "descend", poisoned)
    monkeypatch.setattr(agent, stage, counted)
    kept = Checkpoints(tmp_path, "run", SMALL, log, every=0)  # due after every update
    kept_by_time = Checkpoints(tmp_path, "run", SMALL, log, every=1e9)
    with pytest.raises(Diverged, match=rf"^update {told + 1}: .* before: .*last good state"):
        train(made, checkpoints=kept_by_time)
    before = states[bad - 1]  # as the bad update found it
    torch.testing.assert_close(dict(agent.actor.state_dict()), before, atol=0, rtol=0)
    again = build(SMALL, log)
    saved = kept.load(again._asdict())
    assert saved["update"] < told
    again.agent.check()
    assert all(each.isfinite().all() for each in weights_of(again.agent).values())


# ----------------------------------------------------------------------------------- one setting


def test_a_device_that_is_not_there_is_refused_in_a_sentence(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolved("auto") == resolved("cpu") == CPU
    with pytest.raises(ValueError, match='^device is "cuda", which PyTorch .* there is cpu, and'):
        build(changed(SMALL, {"device": "cuda"}), mixed_log())
    with FakeTensorMode():
        for module in (torch.backends.mps, torch.cuda):  # cuda before mps
            monkeypatch.setattr(module, "is_available", lambda: True)
            assert resolved("auto").type == module.__name__.rpartition(".")[2]


def test_the_device_is_no_part_of_what_is_saved() -> None:
    for name in DEVICES:
        config = changed(SMALL, {"device": name})
        assert config.device == name
        assert config.to_dict() == SMALL.to_dict()
        assert changed(config, {"seed": 3}).device == config.pretraining().device == name
        assert Config.from_dict(config.to_dict()).device == "cpu"
    with pytest.raises(ValueError, match="^device must be one of"):
        changed(SMALL, {"device": "tpu"})


def test_agent_and_environment_live_together() -> None:
    made = build(SMALL, mixed_log())
    building.check_device(CPU, made.environment)
    with pytest.raises(ValueError, match="^the agent lives on meta and its environment on cpu"):
        building.check_device(META, made.environment)


def test_a_generator_goes_on_unless_its_state_is_of_another_device() -> None:
    first, other = generator_on(CPU, 1), generator_on(CPU, 2)
    set_state(other, first.get_state())
    assert torch.rand(1, generator=other) == torch.rand(1, generator=first)
    before = other.get_state()
    set_state(other, torch.zeros(16, dtype=torch.uint8))  # as long as CUDA's
    assert torch.equal(other.get_state(), before)


def test_an_actor_moves_with_all_that_it_reads() -> None:
    agent = build(changed(SMALL_SET), mixed_log(n_items=ITEMS)).agent
    actor: Actor = agent.actor.to(META).train()
    with OnePlace():
        assert actor.scores(histories()).device == META  # with dropout
        assert actor.score(histories()).device == META
