"""A linear model beside a state: how its scores join, when they count, and what is learned."""

from __future__ import annotations

import pytest
import torch
from toys import SMALL_SET, changed, histories_of, learn, mixed_log, pretrain, weights_of

from recsys_rl.agent.build import Training, build
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.networks import Actor
from recsys_rl.agent.replay import Transitions
from recsys_rl.baselines.registry import LINEAR_MODELS
from recsys_rl.data.histories import SHOWN, Histories
from recsys_rl.states.drr_set import DRRset
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.linear import GatedLinear

N_ITEMS, WIDTH, FULL = 24, 4, 6
RATED = [[], [(1, 5.0)], [(1, 5.0), (2, 4.0), (4, SHOWN)], [(i, 4.0) for i in range(8)]]
USERS = histories_of(*RATED, n_items=N_ITEMS)


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state draws four million numbers for its dropout; fewer do here."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class SumOfLikes:
    """A user is the sum of the items they liked, and a 1; counts how often it was asked."""

    initial_gate = (2.0, 3.0)

    def __init__(self) -> None:
        self.item_vectors = torch.randn(N_ITEMS, WIDTH, generator=gen(5))
        self.asked = 0

    @classmethod
    def fit(cls, *_) -> SumOfLikes:
        return cls()

    def __deepcopy__(self, memo: dict) -> SumOfLikes:
        return self

    def user_vector(self, histories: Histories) -> torch.Tensor:
        self.asked += 1
        padded = torch.cat([self.item_vectors, torch.zeros(1, WIDTH)])
        liked = (histories.rating >= 4).unsqueeze(2)
        return (padded[histories.item] * liked).sum(1) + 1


def plain_scores(pairs: list[tuple[int, float]], gate: tuple[float, ...]) -> list[float]:
    """gate(n) x (user . item), in a loop."""
    vectors = SumOfLikes().item_vectors.tolist()
    liked = [item for item, stars in pairs if stars >= 4]
    user = [1 + sum(vectors[item][c] for item in liked) for c in range(WIDTH)]
    n = min(len(liked), FULL) + min(len(pairs) - len(liked), FULL)
    weight = gate[0] + gate[1] * n / FULL
    return [weight * sum(u * x for u, x in zip(user, row, strict=True)) for row in vectors]


def gated(model: SumOfLikes | None = None) -> GatedLinear:
    return GatedLinear(model or SumOfLikes(), FULL, gen())


def actor_of(linear: GatedLinear | None) -> Actor:
    """DRR-set with biases, so that the two last columns have to be told apart."""
    state = DRRset(3, N_ITEMS, 5, FULL)
    state.initialise(gen())
    state.item_vectors.weight.data[:-1, -1] = torch.randn(N_ITEMS, generator=gen(1))
    return Actor(state, linear).eval()


# ---------------------------------------------------------------------------- scores


def test_an_item_scores_the_states_part_and_the_gate_times_the_linear_part() -> None:
    scores, own = actor_of(gated()).scores(USERS), actor_of(None).scores(USERS)
    for row, pairs in enumerate(RATED):
        expected = own[row] + torch.tensor(plain_scores(pairs, SumOfLikes.initial_gate))
        torch.testing.assert_close(scores[row], expected, rtol=1e-4, atol=1e-4)


def test_one_product_for_both_parts_scores_the_same() -> None:
    """`score`, which evaluations call, joins the columns; it also ends training mode."""
    for linear in (gated(), None):
        actor = actor_of(linear)
        expected = actor.scores(USERS).detach()
        torch.testing.assert_close(actor.train().score(USERS), expected, rtol=1e-4, atol=1e-4)
        assert not actor.score(USERS).requires_grad


def test_an_action_may_be_given_in_place_of_the_actors_own() -> None:
    actor = actor_of(gated())
    assert torch.equal(actor.scores(USERS, actor(USERS)), actor.scores(USERS))
    nothing = actor.scores(USERS, torch.zeros(4, 6))
    torch.testing.assert_close(nothing, actor.linear(USERS))


def test_the_gate_is_a_line_in_the_number_of_answers() -> None:
    """Likes and rejections alike; of each at most FULL count."""
    users = [[], [(1, 5.0), (2, 4.0)], [(1, 5.0), (2, 4.0), (4, SHOWN)]]
    users += [[(i, 5.0) for i in range(9)] + [(i, 1.0) for i in range(10, 19)]]
    found = gated().weight(histories_of(*users, n_items=N_ITEMS))
    expected = 2 + 3 * torch.tensor([0, 2, 3, 2 * FULL]) / FULL
    torch.testing.assert_close(found.squeeze(1), expected)


def test_half_of_the_rows_are_masked_in_training_and_none_otherwise() -> None:
    linear, same = gated(), USERS.at(torch.full((2000,), 2))
    part = linear.eval().user_part(same)
    assert part.all()
    masked = linear.train().user_part(same)
    kept = masked.any(1)
    assert torch.equal(masked[kept], part[kept]), "a row is masked whole or not at all"
    assert 0.45 < float(kept.float().mean()) < 0.55
    again = gated().train().user_part(same)
    assert torch.equal(again, masked), "the mask comes from its own generator"


def test_reset_brings_the_first_gate_back() -> None:
    linear = gated()
    before = linear(USERS)
    linear.gate.data += 1
    assert not torch.allclose(linear(USERS), before)
    linear.reset()
    assert torch.equal(linear(USERS), before)
    assert linear.gate.requires_grad


def test_what_was_read_is_not_computed_again() -> None:
    linear, known = gated(), gated().read(USERS)
    torch.testing.assert_close(known.user_vector, SumOfLikes().user_vector(USERS))
    assert torch.equal(linear(known), gated()(USERS))
    assert linear.model.asked == 0


# ---------------------------------------------------------------------------- in an agent


def training_of(changes: dict | None = None, seed: int = 0) -> Training:
    return build(changed(SMALL_SET, changes), mixed_log(seed=seed))


def test_one_update_asks_the_model_once_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch and next histories, for actor, critic and targets together."""
    monkeypatch.setitem(LINEAR_MODELS, "sum", SumOfLikes)
    agent, environment, demonstrations, replay = training_of({"state.linear": "sum"})
    monkeypatch.setattr(DDPG, "warm", True)  # the actor learns, too
    before, _ = environment.reset()
    item = agent.explore(before, environment.excluded).item
    after, reward, _, _, _ = environment.step(item)
    batch = Transitions(before, item, reward, after, torch.full_like(reward, 0.9))
    demonstration = next(demonstrations)
    asked = agent.linear_model.asked
    agent.update(batch, torch.ones(len(item)), demonstration)
    assert agent.linear_model.asked == asked + 2


def test_a_linear_model_that_is_not_registered_is_refused() -> None:
    with pytest.raises(ValueError, match="no linear model 'cubic': choose among .*gaussian"):
        training_of({"state.linear": "cubic"})


def test_the_gate_learns_in_both_stages_and_the_model_does_not() -> None:
    training = training_of({"ddpg.updates": 4})  # of which the critic learns one alone
    agent, gates = training.agent, []
    item_vectors = agent.linear_model.item_vectors.clone()
    for train in (pretrain, lambda *how: list(learn(*how))):
        gates.append(agent.actor.linear.gate.detach().clone())
        train(training, 3)
    gates.append(agent.actor.linear.gate.detach())
    assert gates[0].tolist() == [8, 6]
    assert not torch.equal(gates[0], gates[1])
    assert not torch.equal(gates[1], gates[2])
    assert torch.equal(agent.linear_model.item_vectors, item_vectors)


def test_ddpg_starts_from_the_gate_that_was_learned() -> None:
    training = training_of()
    pretrain(training, 3)
    learned = training.agent.actor.linear.gate.clone()
    training.agent.start_ddpg()
    for actor in (training.agent.actor, training.agent.target_actor):
        assert torch.equal(actor.linear.gate, learned)


def first_steps(scale: float, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """How far the first update of DDPG moves each weight of the actor."""
    monkeypatch.setattr(GatedLinear, "lr_scale", scale)
    monkeypatch.setattr(DDPG, "warm", True)  # the actor learns in it
    training = training_of()
    training.agent.start_ddpg()
    before = weights_of(training.agent)
    list(learn(training, 1))
    after = weights_of(training.agent)
    return {name: after[name] - before[name] for name in after if name.startswith("actor.")}


def test_the_gate_learns_faster_than_the_rest_in_ddpg(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of Adam is as long as its learning rate."""
    fast, slow = (first_steps(scale, monkeypatch) for scale in (100.0, 1.0))
    gate = "actor.linear.gate"
    assert slow[gate].all()
    torch.testing.assert_close(fast.pop(gate), 100 * slow.pop(gate), rtol=1e-2, atol=0)
    assert all(torch.equal(fast[name], slow[name]) for name in fast)


def trained() -> DDPG:
    training = training_of()
    pretrain(training, 3)
    training.agent.start_ddpg()
    list(learn(training, 3))
    return training.agent


def test_a_loaded_agent_has_gate_and_model_of_the_saved_one() -> None:
    agent, other = trained(), training_of({"state.noise": 0.4}, seed=7).agent
    assert not torch.allclose(other.score(USERS), agent.score(USERS), atol=1e-2)
    other.load_state_dict(agent.state_dict())
    assert torch.equal(other.score(USERS), agent.score(USERS))
