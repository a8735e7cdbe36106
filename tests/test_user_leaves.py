"""Users who leave: the rule, what ratings say of a user, and an agent that learns to stay."""

from dataclasses import replace

import pytest
import torch
from toys import random_log

from recsys_rl.agent.build import build
from recsys_rl.agent.config import Config, DDPGConfig, EnvConfig, PretrainConfig, StateConfig
from recsys_rl.agent.gated import GatedActor, PairGate
from recsys_rl.agent.soft import SoftDDPG
from recsys_rl.agent.training import train
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.splits import split_users
from recsys_rl.embeddings.cautious_means import cautious_means
from recsys_rl.embeddings.places import STEEPNESS, fit_places, log_gates, log_likelihood, places_of
from recsys_rl.embeddings.rating_factors import RatingFactors
from recsys_rl.envs.user_leaves import (
    TOO_CLOSE,
    WINDOW,
    LeavingWorld,
    MisledEnv,
    UserLeavesEnv,
    lists_far_apart,
    random_play,
    random_turns,
)
from recsys_rl.evaluation.calibration import calibration
from recsys_rl.evaluation.sessions import whole_sessions
from recsys_rl.states.belief import Belief, NoBelief

N_USERS, N_ITEMS, K = 40, 30, 3


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def world_of(n_users: int = N_USERS, n_items: int = N_ITEMS, seed: int = 0) -> LeavingWorld:
    """Ratings of rank 3 around 3 stars; one pair of items in ten is too close."""
    user = torch.cat(
        [torch.ones(n_users, 1), 0.5 * torch.randn(n_users, K - 1, generator=gen(seed))], 1
    )
    item = torch.cat(
        [torch.full((n_items, 1), 3.0), torch.randn(n_items, K - 1, generator=gen(1))], 1
    )
    distance = torch.cdist(item, item)
    close = distance < distance.flatten().quantile(0.1)
    return LeavingWorld(user, item, close, torch.arange(n_items))


def config_for(**changes) -> Config:
    base = Config(
        state=StateConfig("belief", k=K, n=31, noise=0.0025),
        pretrain=PretrainConfig(updates=0),
        ddpg=DDPGConfig(
            updates=600,
            actor_lr=2e-3,
            gamma=0.95,
            n_steps=1,
            bc_weight=0.0,
            replay="uniform",
            gradient="soft",
        ),
        env=EnvConfig("user-leaves", sessions=64, horizon=30, n_seed=1),
    )
    return base.with_fields(changes)


# ------------------------------------------------------------------------------------ the world


def test_the_rule_by_hand():
    world = world_of()
    env = UserLeavesEnv(world, sessions=50, generator=gen())
    env.reset()
    shown, gone = [[] for _ in range(50)], [False] * 50
    items = torch.randint(N_ITEMS, (30, 50), generator=gen(2))
    for step, item in enumerate(items):
        _, reward, terminated, truncated, info = env.step(item)
        for row, each in enumerate(item.tolist()):
            leaves = any(world.close[each, other] for other in shown[row][-WINDOW:])
            assert info["active"][row] == (not gone[row])
            gone[row] = gone[row] or leaves or step == 29
            assert bool(terminated[row]) == (leaves or step == 29)
            shown[row].append(each)
        assert not truncated.any()
        assert torch.equal(reward, info["rating"])


def test_items_may_be_shown_again_and_answer_alike():
    env = UserLeavesEnv(world_of(), generator=gen())
    env.reset(options={"users": torch.tensor([3, 4])})
    item = torch.tensor([5, 5])
    first = env.step(item)[1]
    _, again, terminated, _, _ = env.step(item)
    assert torch.equal(first, again)
    assert torch.equal(first, env.world.ratings(torch.tensor([3, 4]))[:, 5])
    assert terminated.all()  # nothing is as close as the same
    assert not env.excluded.any()


def test_the_first_item_was_not_shown():
    env = UserLeavesEnv(world_of(), generator=gen())
    histories, _ = env.reset(
        options={"users": torch.tensor([1]), "seed_items": torch.tensor([[7]])}
    )
    assert histories.item.tolist() == [[7]]
    assert not env.step(torch.tensor([7]))[2]


def test_nothing_shown_neither_earns_nor_ends():
    env = UserLeavesEnv(world_of(), generator=gen())
    env.reset(options={"users": torch.tensor([1])})
    _, reward, terminated, _, _ = env.step(torch.tensor([N_ITEMS]))
    assert float(reward) == 0
    assert not terminated


def test_running_sessions_can_be_saved():
    one, other = (UserLeavesEnv(world_of(), sessions=8, generator=gen(s)) for s in (0, 9))
    one.reset()
    one.step(torch.arange(8))
    other.load_state_dict(one.state_dict())
    for item in torch.randint(N_ITEMS, (12, 8), generator=gen(3)):
        assert all(map(torch.equal, one.step(item)[1:4], other.step(item)[1:4]))


def test_sessions_to_the_end():
    world = world_of()
    env = UserLeavesEnv(world, users=torch.arange(10))
    found = whole_sessions(lambda h: world.item[:, 1].expand(len(h), -1), env, draws=2)
    assert found.metrics["length"].tolist() == [2.0] * 10  # the same item twice
    best = int(world.item[:, 1].argmax())
    expected = 2 * world.ratings(torch.arange(10))[:, best]
    assert torch.allclose(torch.tensor(found.metrics["return"]), expected)
    assert (found.top[:, :, 2:] == N_ITEMS).all()


def test_misled_agents_see_the_ratings_of_another_and_earn_their_own():
    env, users = MisledEnv(world_of(), generator=gen()), torch.tensor([3, 8])
    first = torch.tensor([[1], [2]])
    env.reset(options={"users": users, "seed_items": first})
    histories, reward, *_ = env.step(torch.tensor([5, 6]))
    ratings = env.world.ratings(users)
    assert reward.tolist() == [ratings[0, 5], ratings[1, 6]]
    assert histories.rating.tolist() == [
        [ratings[1, 1], ratings[1, 5]],
        [ratings[0, 2], ratings[0, 6]],
    ]


def test_nobody_is_misled_by_their_own_ratings():
    env = MisledEnv(world_of(), generator=gen())
    for users in ([3], [3, 3, 8], [3, 8, 3]):  # the first of the last is told of the last
        with pytest.raises(ValueError, match="nobody is misled by their own"):
            env.reset(options={"users": torch.tensor(users)})


def test_lists_far_apart_keep_everybody():
    world, users = world_of(n_items=60), torch.arange(20)
    lists = lists_far_apart(world.ratings(users), world.close)
    assert all(len(set(row)) == WINDOW + 1 for row in lists.tolist())
    env = UserLeavesEnv(world, generator=gen())
    env.reset(options={"users": users})
    for step in range(30):
        *_, info = env.step(lists[:, step % (WINDOW + 1)])
        assert info["active"].all()
    means = world.ratings(users).gather(1, lists).mean(1)
    assert (means > world.ratings(users).mean(1)).all()


def test_a_list_that_cannot_be_completed_is_refused():
    close = torch.eye(6, dtype=torch.bool)
    close[0] = close[:, 0] = True
    close[1:4, 1:4] = close[4:, 4:] = True  # two groups, and 0 is close to both
    ratings = torch.arange(6.0).expand(2, -1)
    assert lists_far_apart(ratings, close, size=2).tolist() == [[5, 3]] * 2
    with pytest.raises(ValueError, match="no 3 items were found"):
        lists_far_apart(ratings, close, size=3)


# ------------------------------------------------------------------------- what the ratings say


def test_factors_are_found_again():
    world = world_of(200, 40)
    rating = world.user @ world.item.T
    user, item = (torch.rand(rating.shape, generator=gen(1)) < 0.5).nonzero(as_tuple=True)
    rows = user, item, rating[user, item]
    found = RatingFactors.fit(*rows, 200, 40, K, ridge=1e-5, generator=gen())
    assert torch.allclose(found.user @ found.item.T, rating, atol=0.05)
    rotated = found.rotated()
    assert torch.allclose(rotated.user @ rotated.item.T, found.user @ found.item.T, atol=1e-3)
    apart = (rating.unsqueeze(1) - rating.unsqueeze(2)).square().mean(0).sqrt()
    assert torch.allclose(torch.cdist(rotated.item, rotated.item), apart, atol=0.05)


def belief_of(world: LeavingWorld, kind: type[Belief] = Belief) -> Belief:
    state = kind(world.n_users, world.n_items, K, 31)
    state.noise = 0.0025
    state.start_from(RatingFactors(world.user, world.item))
    return state


def test_three_ratings_tell_three_factors():
    world = world_of()
    state = belief_of(world)
    users = torch.arange(N_USERS)
    item = torch.randint(N_ITEMS, (N_USERS, 8), generator=gen(4))
    rating = (world.user @ world.item.T).gather(1, item)
    found = state.ratings(Histories(users, item, rating))
    assert torch.allclose(found, world.ratings(users), atol=0.2)
    padded = Histories(
        users,
        torch.cat([torch.full((N_USERS, 3), N_ITEMS), item], 1),
        torch.cat([torch.zeros(N_USERS, 3), rating], 1),
    )
    assert torch.allclose(state.ratings(padded), found, atol=1e-5)
    nobody = belief_of(world, NoBelief).ratings(padded)
    assert torch.equal(nobody, nobody[:1].expand_as(nobody))


@pytest.mark.parametrize("shown", [0, 1, 6, 7, 9])
def test_the_first_item_is_none_of_the_recent(shown):
    state = belief_of(world_of())
    item = torch.arange(shown + 1).unsqueeze(0)
    padded = torch.cat([torch.full((1, 4), N_ITEMS), item], 1)
    wanted = list(range(1, shown + 1))[-WINDOW:]
    wanted = [N_ITEMS] * (WINDOW - len(wanted)) + wanted
    for histories in (item, padded):
        found = state.recent(Histories(torch.zeros(1), histories, torch.ones(histories.shape)))
        assert found.tolist() == [wanted]


# ------------------------------------------------------------------------------------ the agent


def test_gates_of_pairs_by_hand():
    gate = PairGate(N_ITEMS, K)
    x = 0.2 * torch.randn(N_ITEMS, K, generator=gen())
    gate.start_from(x)
    recent = torch.tensor([[N_ITEMS, 3, 4]])
    square = [(x[5] - x[other]).square().sum() for other in (3, 4)]
    expected = torch.stack([(STEEPNESS * (s - 1)).sigmoid() for s in square]).prod()
    assert torch.allclose(gate(recent, torch.tensor([5])), expected)
    assert torch.allclose(gate.all(recent)[:, 5], expected)


def test_gates_of_all_items_are_those_of_each_and_learn_the_same():
    several, each = PairGate(N_ITEMS, K), PairGate(N_ITEMS, K)
    for gate in (several, each):
        gate.start_from(0.2 * torch.randn(N_ITEMS, K, generator=gen()))
    recent = torch.randint(N_ITEMS + 1, (20, 7), generator=gen())
    recent[0] = N_ITEMS  # nothing was shown before
    columns = torch.arange(N_ITEMS).expand(20, -1)
    gates = [each(recent, columns[:, i]) for i in range(N_ITEMS)]
    assert torch.allclose(several.all(recent), torch.stack(gates, 1), atol=1e-6)
    weight = torch.randn(20, N_ITEMS, generator=gen())
    (several.all(recent) * weight).sum().backward()
    (torch.stack(gates, 1) * weight).sum().backward()
    assert torch.allclose(several.places.grad, each.places.grad, atol=1e-5)


def test_several_threads_add_the_gradient_of_gates_up_in_one_order():
    places = torch.randn(900, 6, generator=gen(), requires_grad=True)
    recent = torch.randint(901, (2048, 7), generator=gen())
    item = torch.randint(900, (2048,), generator=gen())
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = [torch.autograd.grad(log_gates(places, recent, item).sum(), places)[0]
                 for _ in range(8)]  # fmt: skip
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], gradient) for gradient in found)


def test_who_left_tells_which_items_are_close():
    world = world_of(300)
    turns = random_turns(world, torch.arange(300))
    places = fit_places(turns, N_ITEMS, K, gen())
    pairs = torch.ones(N_ITEMS, N_ITEMS, dtype=torch.bool).triu(1)
    told = torch.cdist(places, places) < 1
    assert (told == world.close)[pairs].float().mean() > 0.98
    critic = GatedActor(belief_of(world), 30, 0.9)
    critic.state.places = places
    critic.initialise(gen())
    assert torch.equal(critic.pairs.places, places)


def test_turns_say_what_was_shown_before_and_who_left():
    world = world_of()
    turns = random_turns(world, torch.tensor([3, 8]))
    first = (turns.recent == N_ITEMS).all(1)
    assert not turns.left[first].any()
    for item, recent, left in zip(turns.item, turns.recent, turns.left, strict=True):
        lately = recent[recent < N_ITEMS]
        assert bool(world.close[item, lately].any()) == bool(left)
    rating = world.ratings(turns.user).gather(1, turns.item[:, None])[:, 0]
    assert torch.allclose(turns.rating, rating)
    assert set(random_play(world, torch.tensor([3, 8]), random_log(40, 30, 20)).user.tolist()) == {
        3,
        8,
    }


def test_the_likelihood_of_leaving_by_hand():
    left = torch.tensor([False, True, True])
    found = log_likelihood(torch.tensor([0.25, 0.25, 1.0]).log(), left).exp()
    assert torch.allclose(found, torch.tensor([0.25, 0.75, 1e-6]), rtol=0.1)
    gates = torch.zeros(1, requires_grad=True)
    log_likelihood(gates, left[1:2]).sum().backward()
    assert gates.grad < -1e5  # what was thought impossible teaches most


def test_places_where_nothing_is_known_of_who_left():
    told = random_turns(world_of(), torch.tensor([3]))
    told = replace(told, recent=torch.full_like(told.recent, N_ITEMS))
    assert torch.isfinite(fit_places(told, N_ITEMS, K, gen())).all()
    vectors = torch.cat([world_of().item, torch.zeros(3 * N_ITEMS, K)])
    places = places_of(vectors)  # most items have no vector
    square = torch.cdist(places, places).square()
    assert float(square[square > 0].median()) == pytest.approx(4, rel=0.01)
    assert torch.isfinite(places_of(torch.ones(5, 2))).all()


def few_ratings(least: float = 0.005) -> tuple[Interactions, torch.Tensor]:
    """Films that more people rate are liked more; users differ. The means, too."""
    draw, n_users, n_items = gen(), 400, 300
    share = torch.linspace(least, 0.2, n_items)
    truth = 3 + 3 * share + 0.5 * torch.randn(n_items, generator=draw)
    user, item = (torch.rand(n_users, n_items, generator=draw) < share).nonzero(as_tuple=True)
    above = 0.45 * torch.randn(n_users, generator=draw)
    rating = truth[item] + above[user] + 0.9 * torch.randn(len(item), generator=draw)
    ids = random_log(n_users, n_items, 5)
    nothing = torch.zeros_like(user)
    return Interactions(user, item, rating, nothing, ids.user_ids, ids.item_ids), truth


def test_means_of_few_ratings():
    data, truth = few_ratings()

    def means(caution):
        found = cautious_means(data, caution)
        return (found.user @ found.item.T).mean(0)

    plain, deviation = means(0.0), means(0.0) - means(1.0)
    counts = torch.bincount(data.item, minlength=data.n_items)
    average = torch.zeros(data.n_items).index_add_(0, data.item, data.rating) / counts.clamp(min=1)
    rare = (counts > 0) & (counts < 10)
    error, plainly = (plain - truth)[rare].square().mean(), (average - truth)[rare].square().mean()
    assert error < 0.7 * plainly
    within = ((plain - truth).abs() < deviation).float().mean()
    assert 0.6 < within < 0.76  # of a normal deviation .68
    assert deviation[rare].mean() > 2 * deviation[-30:].mean()
    users = cautious_means(data).user[:, 0]
    theirs = torch.zeros(400).index_add_(0, data.user, data.rating - truth[data.item])
    theirs = theirs / torch.bincount(data.user, minlength=400).clamp(min=1)
    assert torch.corrcoef(torch.stack([users, theirs]))[0, 1] > 0.95


def test_an_item_without_ratings_is_taken_for_a_rare_one():
    data, _ = few_ratings(0.1)
    kept = data.select(data.item > 1)
    first, second = (cautious_means(kept, 0.0).item[:2, 1]).tolist()
    assert first == pytest.approx(second)
    assert abs(first) < 1.5
    once = torch.zeros(len(data), dtype=torch.bool).index_fill_(0, first_rows(data), True)
    assert cautious_means(data.select(once)).item[:, 1].std() < 0.1  # a rating alone tells little


def first_rows(data: Interactions) -> torch.Tensor:
    """One rating of every item."""
    order = data.item.argsort(stable=True)
    item = data.item[order]
    return order[torch.cat([torch.tensor([True]), item[1:] != item[:-1]])]


def test_q_of_all_is_q_of_each():
    torch.manual_seed(0)
    actor = GatedActor(belief_of(world_of()), 30, 0.9)
    actor.initialise(gen())
    histories = Histories(
        torch.zeros(4),
        torch.randint(N_ITEMS, (4, 6), generator=gen()),
        torch.rand(4, 6, generator=gen()) * 5,
        torch.tensor([0.0, 0.3, 0.6, 29 / 30]),
    )
    every = actor.all(histories)
    for item in range(N_ITEMS):
        q = actor(histories, torch.full((4,), item))
        assert torch.allclose(q, every[:, item], atol=1e-4)
    # one step is left: only its rating counts
    assert torch.allclose(every[3], actor.state.ratings(histories)[3], atol=1e-4)


@pytest.fixture(scope="module")
def trained():
    world = world_of(300)
    met, others = split_users(world.n_users, (0.8, 0.2))
    data = random_log(world.n_users, world.n_items, 20)

    def policy(**changes):
        training = build(
            config_for(**changes),
            random_play(world, met, data),
            make_env=lambda _, generator: UserLeavesEnv(
                world, users=met, sessions=64, generator=generator
            ),
        )
        train(training)
        env = UserLeavesEnv(world, users=others)
        return training.agent, whole_sessions(training.agent.score, env).mean(), env

    return policy


def test_users_stay_with_an_agent_that_looks_ahead(trained):
    agent, found, env = trained()
    assert isinstance(agent, SoftDDPG)
    assert found["length"] > 20
    sessions = calibration(agent.score, agent.q, env, 0.95, draws=1)
    assert sessions.error(0) < 0.15
    _, myopic, _ = trained(**{"ddpg.gamma": 0.0, "ddpg.updates": 100})
    assert myopic["length"] < 5


def test_the_threshold_is_that_of_ml_1m():
    assert pytest.approx(75) == TOO_CLOSE * 6040**0.5
