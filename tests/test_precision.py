"""bfloat16: matrix products by which the actor learns, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toys import SMALL, SMALL_SET, changed, learn, mixed_log, weights_of

from recsys_rl import train_command
from recsys_rl.agent.build import Training, build
from recsys_rl.agent.config import PRECISIONS, Config
from recsys_rl.agent.demonstrations import HindsightBatch
from recsys_rl.agent.losses import full_softmax
from recsys_rl.data.devices import CPU, products, refuse_precision
from recsys_rl.data.histories import Histories
from recsys_rl.release_config import checked
from recsys_rl.releasing import release
from recsys_rl.serving import Recommender

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}
LOW = {"precision": "bfloat16"}
AGENTS = "DRR-ave", "DRR-att", "DRR-seq", "DRR-seq-clock", "DRR-set", "deterministic"


class Seen(TorchDispatchMode):
    """The types that matrix products come in, and those of the numbers that everything reads."""

    def __init__(self) -> None:
        super().__init__()
        self.products, self.read = set(), set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        numbers = [x.dtype for x in tree_leaves(args) if isinstance(x, Tensor)]
        self.read |= {kind for kind in numbers if kind.is_floating_point}
        if func._schema.name.removeprefix("aten::") in PRODUCTS:
            self.products.add(found.dtype)
        return found


def config_for(name: str, precision: str = "bfloat16") -> Config:
    """All weights learn from the first update on."""
    base = SMALL_SET if name == "DRR-set" else SMALL
    changes = {"precision": precision, "ddpg.bc_weight": 0.5}
    if name == "deterministic":
        changes |= {"ddpg.ou_sigma": 0.2, "ddpg.gradient": name}
    else:
        changes["state.name"] = name
    return changed(base, changes)


def built(name: str, precision: str = "bfloat16") -> Training:
    return build(config_for(name, precision), mixed_log())


def losses(made: Training) -> Iterator[float]:
    """Of one update of pretraining and one of DDPG in which the actor learns, too."""
    yield made.agent.pretrain(next(made.demonstrations))["pretrain_loss"]
    made.agent.start_ddpg()
    made.agent.updated = made.agent.config.ddpg.updates // 2 // 4 * 4  # sessions are played
    (report,) = learn(made, 1)
    yield from (report[name] for name in ("critic_loss", "actor_loss"))
    yield from (report[name] for name in ("q_spread", "entropy") if name in report)


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_learns_in_bfloat16_and_stays_float32(name: str) -> None:
    made, seen = built(name), Seen()
    before = weights_of(made.agent)
    with seen:
        found = list(losses(made))
    assert seen.products == {torch.bfloat16, torch.float32}  # learning, and all else
    expected = list(losses(built(name, "float32")))
    assert found == pytest.approx(expected, rel=0.03, abs=0.03)
    assert found != expected
    after = weights_of(made.agent)
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    assert all(weight.isfinite().all() for weight in after.values())
    for network in ("actor.", "critic."):
        assert any(not torch.equal(after[n], before[n]) for n in after if n.startswith(network))


@pytest.mark.parametrize("name", AGENTS)
def test_gradients_are_those_of_float32_but_for_rounding(name: str) -> None:
    def gradient(precision: str) -> Tensor:
        made = built(name, precision)
        made.agent.actor.train()
        loss = made.agent._demonstrated(next(made.demonstrations))
        weights = [p for p in made.agent.actor.parameters() if p.requires_grad]
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        assert {part.dtype for part in found if part is not None} == {torch.float32}
        return torch.cat([part.flatten() for part in found if part is not None])

    expected, found = gradient("float32"), gradient("bfloat16")
    assert 0 < (found - expected).norm() < 0.05 * expected.norm()


def test_the_softmax_over_the_catalogue_is_float32() -> None:
    g = torch.Generator().manual_seed(0)
    vectors, items = 3 * torch.randn(7, 4, generator=g), torch.randn(9, 4, generator=g)
    target = torch.arange(7)
    with products(CPU, "bfloat16"):
        found = full_softmax(vectors, items, target)
    rounded = (vectors.bfloat16() @ items.bfloat16().T).float()
    assert found == F.cross_entropy(rounded, target)


@pytest.mark.parametrize("name", AGENTS)
def test_float32_has_no_other_type(name: str) -> None:
    made, seen = built(name, "float32"), Seen()
    with seen:
        list(losses(made))
    assert seen.products == {torch.float32}
    assert torch.bfloat16 not in seen.read


@pytest.mark.parametrize("name", AGENTS)
def test_what_networks_give_is_float32(name: str) -> None:
    agent, env = (made := built(name)).agent, made.environment
    env.reset()
    histories, item = env.observation(), torch.zeros(env.sessions, dtype=torch.int64)
    with products(CPU, "bfloat16"):
        found = [agent.actor(histories), agent.actor.scores(histories)]
        found.append(agent.actor.policy(histories))
        if name == "deterministic":
            found.append(agent.critic(histories, found[0]))
        else:
            found += [agent.critic(histories, item), agent.critic.preferences(histories)]
    assert [each.dtype for each in found] == [torch.float32] * len(found)


@pytest.mark.parametrize("name", AGENTS)
def test_acting_and_the_critic_are_float32(name: str, monkeypatch) -> None:
    made, seen = built(name), Seen()
    agent, env = made.agent, made.environment
    env.reset()
    with seen:
        agent.explore(env.observation(), env.excluded, agent.new_noise(env.sessions))
        agent.score(env.observation())
        agent.target_value(agent.target_actor.read(env.observation()))
    assert seen.read == {torch.float32}
    called = set()

    def spied(name: str) -> None:
        method = getattr(agent, name)

        def spy(*given):
            called.add((name, torch.is_autocast_enabled("cpu")))
            return method(*given)

        monkeypatch.setattr(agent, name, spy)

    exact = "explore", "target_value", "q_taken", "descend"
    for part in (*exact, "policy_loss"):
        spied(part)
    list(losses(made))
    assert called == {*((part, False) for part in exact), ("policy_loss", True)}


def test_the_gaussian_is_solved_in_float32() -> None:
    made = built("DRR-set")
    given = next(made.demonstrations)
    histories = given.histories
    unread = Histories(histories.user, histories.item, histories.rating, histories.elapsed)
    with products(CPU, "bfloat16"):
        assert torch.equal(made.agent.actor.read(unread).user_vector, histories.user_vector)
    batch = HindsightBatch(unread, given.relevant, given.excluded)
    assert made.agent._demonstrated(batch) == made.agent._demonstrated(given)


def test_a_released_agent_answers_in_float32(tmp_path: Path) -> None:
    made = built("DRR-set")
    list(losses(made))
    about = {"dataset": "toys", "command": "", "protocol": "", "metrics": {}}
    release(made.agent, mixed_log(), tmp_path, **about)
    loaded, seen = Recommender.load(tmp_path), Seen()
    histories = made.environment.observation()
    with seen:
        scores = loaded.score(histories)
    assert seen.products == {torch.float32}
    assert torch.equal(scores, made.agent.score(histories))
    assert checked(loaded.config)[0] == made.agent.config


# ------------------------------------------------------------------------------------- one setting


@pytest.mark.parametrize("base", [SMALL, SMALL_SET])
def test_only_another_precision_is_saved(base: Config) -> None:
    saved = base.to_dict()
    assert "precision" not in saved
    assert Config.from_dict(saved).precision == "float32"
    assert base.with_field("precision", "float32") == base
    low = changed(base, LOW)
    assert low.to_dict() == saved | LOW
    assert Config.from_dict(low.to_dict()) == low
    assert low.pretraining().precision == changed(low, {"seed": 3}).precision == "bfloat16"


@pytest.mark.parametrize("value", ["float16", "bf16", "", "float64"])
def test_another_value_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="^precision must be one of .*bfloat16.*, not") as caught:
        SMALL.with_field("precision", value)
    assert "\n" not in str(caught.value)


def test_the_command_takes_it() -> None:
    options = train_command._parser().parse_args(
        ["--agent", "DRR-set", "--set", "precision=bfloat16"]
    )
    assert train_command.configured(options, "ml-100k").precision == "bfloat16"


def test_a_state_that_solves_for_a_belief_refuses_it() -> None:
    fields = {"env.name": "user-leaves", "state.n": 9, "env.n_seed": 1, "state.name": "belief"}
    config = SMALL.with_fields(fields | {"ddpg.gradient": "soft", "ddpg.bc_weight": 0.0} | LOW)
    with pytest.raises(ValueError, match='^belief solves .* "float32": not "bfloat16"$'):
        build(config, mixed_log())


def test_a_device_without_it_is_refused_in_a_sentence() -> None:
    for precision in PRECISIONS:
        refuse_precision(CPU, precision)
    meta = torch.device("meta")
    refuse_precision(meta, "float32")
    with pytest.raises(ValueError, match='^precision is "bfloat16", which PyTorch .* on meta here'):
        refuse_precision(meta, "bfloat16")


def test_a_device_that_says_no_is_refused_in_the_same_sentence(monkeypatch) -> None:
    def none(device_type: str, *_, **__) -> None:
        raise RuntimeError("Current CUDA Device does not support bfloat16")

    monkeypatch.setattr(torch, "autocast", none)
    with pytest.raises(ValueError, match='^precision is "bfloat16", which PyTorch'):
        build(changed(SMALL, LOW), mixed_log())
