"""Sessions with strangers: the rules in plain Python, the loss against autograd, and what each part
must not see."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from toys import Training, log_of, settings_of

from benchmarks.study import TRUST_PUT_BACK, warm_stages
from recsys_rl.agent.config import Settings
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.demonstrations import OwnSessions
from recsys_rl.agent.losses import LikesLoss
from recsys_rl.agent.networks import Actor, Critic
from recsys_rl.agent.replay import PrioritizedReplayBuffer, ReplayBuffer, Transitions
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.baselines.linucb import LinUCB
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.histories import POSITIVE, SHOWN, Histories
from recsys_rl.data.observation import Observation
from recsys_rl.data.histories import likes_and_rejections
from recsys_rl.data.splits import in_two_circles, split_users
from recsys_rl.embeddings.als import ALS
from recsys_rl.embeddings.cooccurrence import EMBEDDING_STD, Cooccurrence, like_vectors
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.envs.cold_start import StrangerSessions
from recsys_rl.serving import Recommender, release
from recsys_rl.states.drr import DRRave
from recsys_rl.states.drr_set import DRRlikes, DRRset
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.linear import LikesRidge
from recsys_rl.states.registry import STATES

N_ITEMS, K = 24, 5
STARS = (1.0, 3.5, 4.0, 5.0)  # two of them are likes, two are not


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout draws its masks once for every state: four million numbers are too many here."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def crowd(n_users: int = 14, seed: int = 0) -> Interactions:
    """People with 8 to 20 films of 24, about half of what they rated is liked; user 2 has none."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        films = rng.permutation(N_ITEMS)[: rng.integers(8, 21)]
        rows += [(user, int(film), float(rng.choice(STARS))) for film in films if user != 2]
    return log_of(rows, n_users, N_ITEMS)


def rows_of(people: Interactions, user: int) -> dict[int, float]:
    """Film -> rating, in the order of the log."""
    first, end = people.offsets[user : user + 2].tolist()
    items, ratings = people.item[first:end].tolist(), people.rating[first:end].tolist()
    return dict(zip(items, ratings, strict=True))


def likes_of(people: Interactions, user: int) -> set[int]:
    return {film for film, rating in rows_of(people, user).items() if rating >= 4}


def vectors_of(people: Interactions, seed: int = 0) -> Tensor:
    return torch.randn(people.n_items, K, generator=generator_of(seed))


def sessions_of(people: Interactions, **settings) -> StrangerSessions:
    settings = {"sessions": 8, "n": 4, "horizon": 6} | settings
    settings.setdefault("generator", generator_of(1))
    return StrangerSessions(people, vectors_of(people), **settings)


def actions(count: int, batch: int, seed: int = 2) -> Tensor:
    return torch.randn(count, batch, K, generator=generator_of(seed))


def films_in(memory: Tensor) -> list[int]:
    return [film for film in memory.tolist() if film < N_ITEMS]


def padded(films: list[int], n: int) -> list[int]:
    latest = films[-n:]
    return [N_ITEMS] * (n - len(latest)) + latest


# --------------------------------------------------------------------------------- two memories


@pytest.mark.parametrize("n", [1, 3, 30])
def test_likes_and_rejections_against_a_loop(n: int) -> None:
    rng = np.random.default_rng(n)
    items, ratings = [], []
    for length in range(13):  # one history of every length, films shown among those rated
        films = rng.permutation(N_ITEMS)[:length].tolist()
        items.append([N_ITEMS] * (12 - length) + films)
        ratings.append([0.0] * (12 - length) + rng.choice([SHOWN, *STARS], length).tolist())
    user = torch.zeros(13, dtype=torch.int64)
    histories = Histories(user, torch.tensor(items), torch.tensor(ratings))
    liked, rejected = likes_and_rejections(histories, n, N_ITEMS)
    for row, (films, stars) in enumerate(zip(items, ratings, strict=True)):
        rows = [(f, s) for f, s in zip(films, stars, strict=True) if f < N_ITEMS]
        assert liked[row].tolist() == padded([f for f, s in rows if s >= 4], n)
        assert rejected[row].tolist() == padded([f for f, s in rows if s < 4], n)


def test_likes_and_rejections_of_nobody_and_of_nothing() -> None:
    for size, width in ((0, 4), (3, 0)):
        empty = torch.zeros(size, width)
        histories = Histories(torch.zeros(size, dtype=torch.int64), empty.long(), empty)
        for memory in likes_and_rejections(histories, 2, N_ITEMS):
            assert memory.shape == (size, 2)
            assert (memory == N_ITEMS).all()


# ------------------------------------------------------------------------------------ the state


def drr_set(kind: type[DRRset] = DRRset, n: int = 6, seed: int = 0) -> DRRset:
    """A state whose every number is random, so that no part of it is idle."""
    generator = generator_of(seed)
    state = kind(3, N_ITEMS, K, n)
    state.initialise(generator)
    with torch.no_grad():
        for parameter in state.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        state.item_vectors.weight[N_ITEMS] = 0
    return state.eval()


def seen_of(*memories: tuple[list[int], list[int]], width: int = 6) -> Observation:
    liked, rejected = (
        torch.tensor([padded(films, width) for films in part])
        for part in zip(*memories, strict=True)
    )
    return Observation(torch.full((len(memories),), 3), liked, rejected)


def test_the_state_against_its_formula() -> None:
    state = drr_set()
    memories = [([1, 2, 3], [4, 5]), ([], [6]), ([7], []), ([], []), ([0, 23, 9, 8, 2, 1], [3])]
    out = state(seen_of(*memories))
    vectors = state.item_vectors.weight[:, :K]
    for row, memory in enumerate(memories):
        sums, counts = [], []
        for films in memory:
            total = vectors[films].sum(0) / max(1, len(films)) ** 0.5
            sums.append(total * 0.5 / EMBEDDING_STD)
            counts.append((torch.tensor([len(films) + 1.0]).log() - 2) / 2)
        x = state.read(torch.cat([*sums, *counts]))
        x = x + state.narrow(F.silu(state.widen(state.inner_norm(x))))
        wanted = state.out(state.norm(x)) + state.taste * sums[0]
        torch.testing.assert_close(out[row, :K], wanted, rtol=1e-4, atol=1e-4)
        assert out[row, K] == 1


def test_no_order_and_no_padding_is_read() -> None:
    state = drr_set()
    first = seen_of(([1, 2, 3], [4, 5]))
    for same in (
        seen_of(([3, 1, 2], [5, 4])),
        seen_of(([1, 2, 3], [4, 5]), width=11),
        seen_of(([1, 2, 3], [4, 5]), width=3),
        Observation(first.user, first.memory.flip(1), first.rejected.roll(-1, 1)),  # not LEFT
        first._replace(user=torch.tensor([0])),
    ):
        torch.testing.assert_close(state(same), state(first), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        state.item_vectors.weight[N_ITEMS] = 7
    torch.testing.assert_close(state(first), state(seen_of(([1, 2, 3], [4, 5]), width=11)))


def test_every_film_and_both_memories_are_read() -> None:
    state = drr_set()
    out = state(
        seen_of(
            *[([1, 2, 3], [4, 5]), ([4, 5], [1, 2, 3]), ([1, 2], [4, 5]), ([1, 2, 3], [4])],
            *[([1, 2, 3], []), ([], [4, 5]), ([0, 2, 3], [4, 5]), ([1, 2, 3], [4, 6]), ([], [])],
        )
    )
    assert (torch.pdist(out) > 1e-2).all()


@pytest.mark.parametrize("kind", [DRRset, DRRlikes])
def test_only_drr_set_reads_what_was_not_liked(kind: type[DRRset]) -> None:
    state = drr_set(kind)
    seen, other = seen_of(([1, 2], [4, 5])), seen_of(([1, 2], [6]))
    nobody_kept = seen._replace(rejected=None)
    assert torch.equal(state(seen), state(other)) == (kind is DRRlikes)
    torch.testing.assert_close(state(nobody_kept), state(seen_of(([1, 2], []))))
    torch.testing.assert_close(drr_set(DRRlikes)(seen), drr_set()(nobody_kept))


def test_the_last_column_is_a_bias_and_no_input() -> None:
    state, seen = drr_set(), seen_of(([1, 2], [4]))
    before = state(seen)
    assert state.size == K + 1 == before.shape[1]
    assert state.item_vectors.weight.shape == (N_ITEMS + 1, K + 1)
    with torch.no_grad():
        state.item_vectors.weight[:, -1] += 5
    assert torch.equal(state(seen), before)


def test_gradients_reach_the_films_of_the_memories_and_no_others() -> None:
    state = drr_set()
    state(seen_of(([1, 2], [4]), ([2], []))).square().sum().backward()
    touched = (state.item_vectors.weight.grad != 0).any(1)
    assert torch.nonzero(touched).squeeze(1).tolist() == [1, 2, 4]
    assert (state.item_vectors.weight.grad[:, -1] == 0).all()


def test_a_fresh_state_starts_small_without_biases_and_from_its_generator() -> None:
    first, again, other = (DRRset(3, N_ITEMS, 64, 6) for _ in range(3))
    for state, seed in ((first, 0), (again, 0), (other, 1)):
        state.initialise(generator_of(seed))
    for one, two, three in zip(
        *(s.parameters() for s in (first, again, other)), strict=True
    ):  # norms and `taste` start as constants
        assert torch.equal(one, two)
        assert one.dim() < 2 or not torch.equal(one, three)
    vectors = first.item_vectors.weight
    assert float(vectors[:-1, :-1].detach().std()) == pytest.approx(EMBEDDING_STD, rel=0.1)
    assert (vectors[:, -1] == 0).all()
    assert (vectors[-1] == 0).all()
    assert float(first.taste.detach()) == 2


def test_the_state_starts_from_cooccurrence() -> None:
    people = crowd()
    start = Cooccurrence(people, K, generator_of(0), reach=None)
    state = DRRset(people.n_users, N_ITEMS, K, 6)
    state.initialise(generator_of(0))
    state.start_from(start)
    assert torch.equal(state.item_vectors.weight[:-1, :K], start.item)
    assert torch.equal(state.item_vectors.weight[:-1, K], start.bias)
    assert (state.item_vectors.weight[-1] == 0).all()


def test_dropout_only_in_training() -> None:
    state, seen = drr_set(), seen_of(([1, 2], [4]))
    assert torch.equal(state(seen), state(seen))
    state.train()
    assert not torch.equal(state(seen), state(seen))


def test_the_states_have_names() -> None:
    assert (STATES["set"], STATES["likes"]) == (DRRset, DRRlikes)


# ------------------------------------------------------------------------------ the environment


class OneSession:
    """The rules in plain Python, for one session in which `known` films are known."""

    def __init__(
        self, people: Interactions, user: int, known: set[int], n: int, horizon: int, rated: bool
    ) -> None:
        rows, self.n, self.horizon, self.steps = rows_of(people, user), n, horizon, 0
        self.liked = [film for film in rows if film in known and rows[film] >= 4]
        self.rejected = [film for film in rows if film in known and rows[film] < 4]
        self.wanted = {film for film in rows if rows[film] >= 4} - known
        self.left = (set(rows) if rated else set(range(N_ITEMS))) - known
        self.over = not self.wanted

    def step(self, scores: list[float]) -> tuple[int, float, bool, bool]:
        film = max(self.left, key=lambda i: scores[i])
        self.left.remove(film)
        self.steps += 1
        (self.liked if film in self.wanted else self.rejected).append(film)
        reward = float(film in self.wanted)
        self.wanted.discard(film)
        terminated, truncated = not self.wanted, self.steps >= self.horizon
        self.over = terminated or truncated
        return film, reward, terminated, truncated

    @property
    def memories(self) -> list[list[int]]:
        return [padded(films, self.n) for films in (self.liked, self.rejected)]


@pytest.mark.parametrize("candidates", ["all", "rated"])
@pytest.mark.parametrize(
    ("given", "n"), [(3, 3), (3, 8), (1, 2), (0.3, N_ITEMS), (0.8, N_ITEMS), (0.0, 4)]
)
def test_every_session_against_plain_python(candidates: str, given: float, n: int) -> None:
    """Past the end of all sessions; what is known at the start is read off the memories, which
    are wide enough for it."""
    people, horizon = crowd(30), 16
    sessions = sessions_of(people, n=n, horizon=horizon, given=given, candidates=candidates)
    users = sessions.fans.repeat(3)
    observation, info = sessions.reset(options={"users": users})
    plain = []
    for row, user in enumerate(users.tolist()):
        known = films_in(observation.memory[row]) + films_in(observation.rejected[row])
        assert len(set(known)) == len(known)
        assert set(known) <= set(rows_of(people, user))
        if given >= 1:
            assert len(known) == given
            assert set(known) <= likes_of(people, user)
        plain.append(OneSession(people, user, set(known), n, horizon, candidates == "rated"))
    assert info["active"].tolist() == [not one.over for one in plain]
    for action in actions(horizon + 1, len(users)):
        scores = (action @ sessions.item_vectors.T).tolist()
        running = [row for row, one in enumerate(plain) if not one.over]
        observation = sessions.observation()
        for row in running:
            memories = [observation.memory[row].tolist(), observation.rejected[row].tolist()]
            assert memories == plain[row].memories
            assert torch.nonzero(sessions.wanted[row]).squeeze(1).tolist() == sorted(
                plain[row].wanted
            )
            assert torch.nonzero(~sessions.barred[row]).squeeze(1).tolist() == sorted(
                plain[row].left
            )
        after, reward, terminated, truncated, info = sessions.step(action)
        assert torch.nonzero(info["active"]).squeeze(1).tolist() == running
        assert reward.dtype == torch.float32
        for row in running:
            film, wanted, end, limit = plain[row].step(scores[row])
            assert int(info["item"][row]) == film
            assert float(reward[row]) == wanted
            assert (bool(terminated[row]), bool(truncated[row])) == (end, limit)
            assert [after.memory[row].tolist(), after.rejected[row].tolist()] == plain[row].memories
    assert sessions.over
    lengths = [one.steps for one in plain]
    assert min(lengths) < horizon, "some have nothing left to like"
    assert max(lengths) == horizon or candidates == "rated", "and some are cut by the time"


def test_the_agent_is_never_told_who_it_is() -> None:
    people = crowd()
    sessions = sessions_of(people)
    assert (sessions.reset()[0].user == people.n_users).all()
    assert (sessions.step(actions(1, 8)[0])[0].user == people.n_users).all()


def test_a_time_limit_truncates_and_does_not_terminate() -> None:
    people = log_of([(0, film, 5.0) for film in range(20)], 1, N_ITEMS)
    sessions = sessions_of(people, horizon=3)
    sessions.reset()
    for step, action in enumerate(actions(3, 8), start=1):
        _, _, terminated, truncated, info = sessions.step(action)
        assert not terminated.any()
        assert (truncated == (step == 3)).all()
        assert info["active"].all()
        assert sessions.over == (step == 3)


def test_a_session_terminates_when_nothing_is_left_to_like() -> None:
    people = log_of([(0, film, 5.0) for film in range(6)] + [(0, 6, 1.0)], 1, N_ITEMS)
    sessions = sessions_of(people, sessions=1, horizon=99)
    named = films_in(sessions.reset()[0].memory[0])
    left = sorted(set(range(6)) - set(named))
    order = [6, left[0], 20, left[1], left[2]]
    for film in order:
        observation, reward, terminated, truncated, info = sessions.execute(torch.tensor([film]))
        assert reward.tolist() == [float(film < 6)]
        assert terminated.tolist() == [film == left[2]]
        assert info["active"].all()
        assert not truncated
    assert sessions.over
    assert films_in(observation.memory[0]) == [*named, *left][-4:]
    assert films_in(observation.rejected[0]) == [6, 20]


def test_a_film_answers_once() -> None:
    """`execute` may be told to show a film again, or one that was named: it earns nothing."""
    people = log_of([(0, film, 5.0) for film in range(8)], 1, N_ITEMS)
    sessions = sessions_of(people, sessions=1)
    named = films_in(sessions.reset()[0].memory[0])
    film = min(set(range(8)) - set(named))
    rewards = [float(sessions.execute(torch.tensor([i]))[1]) for i in (film, film, named[0])]
    assert rewards == [1, 0, 0]
    assert int(sessions.wanted.sum()) == 4


def test_sessions_of_a_batch_do_not_touch_one_another() -> None:
    """Everybody together and each alone, with the same actions, from the same known films."""
    people = crowd()
    together = sessions_of(people)
    together.reset()
    alone = [sessions_of(people) for _ in range(8)]
    state = together.state_dict()
    for row, one in enumerate(alone):
        rows = {n: p[row : row + 1] for n, p in state.items() if n not in ("_steps", "generator")}
        one.load_state_dict(state | rows | {"_each": torch.tensor([0])})
    for action in actions(6, 8):
        observation, *others, info = together.step(action)
        for row, one in enumerate(alone):
            mine, *figures, told = one.step(action[row : row + 1])
            for ours, theirs in zip(
                [*mine, *figures, *told.values()], [*observation, *others, *info.values()],
                strict=True,
            ):  # fmt: skip
                assert torch.equal(ours[0], theirs[row])


def test_vectors_are_read_live() -> None:
    people = crowd()
    vectors = torch.nn.Parameter(torch.zeros(N_ITEMS, K))
    sessions = StrangerSessions(people, vectors, sessions=4)
    sessions.reset()
    unknown = int((~sessions.barred).all(0).nonzero()[-1])
    with torch.no_grad():
        vectors[unknown, 0] = 1
    assert sessions.step(torch.ones(4, K))[4]["item"].tolist() == [unknown] * 4


def test_an_observation_handed_out_does_not_change_later() -> None:
    """The replay buffer keeps the one from before the step."""
    sessions = sessions_of(crowd())
    before, _ = sessions.reset()
    copies = [part.clone() for part in before]
    for action in actions(4, 8):
        after = sessions.step(action)[0]
    assert all(torch.equal(*both) for both in zip(before, copies, strict=True))
    assert not torch.equal(after.memory, before.memory)
    assert not torch.equal(after.rejected, before.rejected)


# ------------------------------------------------------------------------------- who and what


@pytest.mark.parametrize(("given", "least"), [(3, 6), (1, 4), (0.5, 2), (0.0, 2)])
def test_who_is_met(given: float, least: int) -> None:
    """Four stars are a like and 3.5 are not; one film less is not enough."""
    rows = [(0, film, 4.0) for film in range(least)]
    rows += [(1, film, 5.0) for film in range(least - 1)] + [(1, 9, 3.5), (1, 10, 3.5)]
    rows += [(3, film, 4.5) for film in range(least + 1)]
    sessions = sessions_of(log_of(rows, 5, N_ITEMS), given=given)
    assert sessions.fans.tolist() == [0, 3]
    with pytest.raises(ValueError, match=f"nobody liked {least} films"):
        sessions_of(log_of(rows[least : 2 * least + 1], 5, N_ITEMS), given=given)


def test_people_and_named_films_are_drawn_evenly() -> None:
    rows = [(0, film, 4.0) for film in range(6)] + [(0, 20, 1.0)]
    rows += [(1, film, 5.0) for film in range(10, 16)] + [(2, 9, 5.0)]
    sessions = sessions_of(log_of(rows, 3, N_ITEMS), sessions=6000)
    memory = sessions.reset()[0].memory
    counts = torch.bincount(memory[memory < N_ITEMS], minlength=N_ITEMS) / 6000
    wanted = [0.25 if film in (*range(6), *range(10, 16)) else 0 for film in range(N_ITEMS)]
    np.testing.assert_allclose(counts, wanted, atol=0.025)


@pytest.mark.parametrize("share", [0.25, 0.7])
def test_a_share_of_all_rows_is_known(share: float) -> None:
    """Liked or not, each with the same chance; more sessions than one person has rows."""
    rows = [(0, film, 5.0 if film < 5 else 2.0) for film in range(12)]
    sessions = sessions_of(log_of(rows, 1, N_ITEMS), n=20, given=share, sessions=4000)
    observation, _ = sessions.reset()
    for memory, films in ((observation.memory, range(5)), (observation.rejected, range(5, 12))):
        counts = torch.bincount(memory[memory < N_ITEMS], minlength=N_ITEMS) / 4000
        wanted = [share if film in films else 0 for film in range(N_ITEMS)]
        np.testing.assert_allclose(counts, wanted, atol=0.03)


def test_candidates_decide_what_is_shown() -> None:
    people = crowd()
    for candidates, unrated in (("all", True), ("rated", False)):
        sessions = sessions_of(people, candidates=candidates, horizon=5)
        users = sessions.fans
        sessions.reset(options={"users": users})
        found = False
        for action in actions(5, len(users)):
            info = sessions.step(action)[4]
            for row in torch.nonzero(info["active"]).squeeze(1).tolist():
                found |= int(info["item"][row]) not in rows_of(people, int(users[row]))
        assert found == unrated


def test_reset_with_a_seed_repeats_and_another_seed_differs() -> None:
    sessions, again = sessions_of(crowd()), sessions_of(crowd())

    def opening(which: StrangerSessions, **settings) -> list:
        observation, _ = which.reset(**settings)
        return [observation.memory.tolist(), which.wanted.tolist()]

    assert opening(sessions) == opening(again), "two generators of one seed"
    first = opening(sessions, seed=3)
    assert opening(sessions) != first
    assert opening(sessions, seed=3) == first
    assert opening(sessions, seed=4) != first


def test_the_global_generators_are_left_alone() -> None:
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    sessions = sessions_of(crowd())
    sessions.reset()
    sessions.step(actions(1, 8)[0])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_over_before_the_first_reset_and_not_after() -> None:
    sessions = sessions_of(crowd())
    assert sessions.over
    _, info = sessions.reset()
    assert not sessions.over
    assert info["active"].all()


def test_fault_8_nobody_held_out_is_ever_met() -> None:
    """Sessions, moments and vectors of a log without some people are the same whatever those
    people rated, and every session is with somebody else."""
    people = crowd(40)
    train, held, _ = split_users(people.n_users, (0.5, 0.3, 0.2))
    known = torch.isin(people.user, train)
    flipped = replace(people, rating=torch.where(known, people.rating, 6 - people.rating))
    settings = settings_of(state="set", imitate="own", n=8, sessions=64, seed=3)
    likes = {user: likes_of(people, user) for user in range(people.n_users)}
    met = [likes[int(user)] for user in train]
    assert all(likes[int(user)] not in met for user in held if likes[int(user)])
    plays = []
    for everybody in (people, flipped):
        sessions, moments = DDPG(settings, people.n_users, N_ITEMS).play(everybody.select(known))
        sessions.reset()
        seen = [next(moments) for _ in range(3)]
        for start in (sessions, moments.sessions):
            observation = start.reset()[0]
            for row, wanted in enumerate(start.wanted):
                named = set(films_in(observation.memory[row]))
                assert named | set(torch.nonzero(wanted).squeeze(1).tolist()) in met
        plays.append([torch.cat([moment.wanted, moment.barred]) for moment in seen])
    assert torch.equal(torch.stack(plays[0]), torch.stack(plays[1]))


# ------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("steps", [0, 2, 6])
def test_a_loaded_environment_goes_on_as_the_saved_one(steps: int, tmp_path) -> None:
    """Before any session, in the middle of some, and after their end."""
    people = crowd()
    whole, resumed = sessions_of(people), sessions_of(people, generator=torch.Generator())
    if steps:
        whole.reset()
    for action in actions(steps, 8):
        whole.step(action)
    torch.save(whole.state_dict(), tmp_path / "sessions.pt")
    resumed.load_state_dict(torch.load(tmp_path / "sessions.pt", weights_only=True))
    assert resumed.over == whole.over
    for action in actions(12, 8, seed=5):
        if whole.over:
            whole.reset()
            resumed.reset()
        for ours, theirs in zip(*(flat(s.step(action)) for s in (resumed, whole)), strict=True):
            assert torch.equal(ours, theirs)


def flat(step: tuple) -> list[Tensor]:
    observation, *rest, info = step
    return [*observation, *rest, *info.values()]


def test_a_loaded_environment_shares_no_memory_with_the_saved_one() -> None:
    people = crowd()
    whole, other = sessions_of(people), sessions_of(people)
    whole.reset()
    other.load_state_dict(whole.state_dict())
    before = whole.wanted.clone(), whole.barred.clone()
    for action in actions(6, 8):
        other.step(action)
    assert torch.equal(whole.wanted, before[0])
    assert torch.equal(whole.barred, before[1])
    assert not torch.equal(other.barred, before[1])


# ------------------------------------------------------------------------------- own sessions


def test_moments_are_from_before_the_step_and_stay_as_they_were() -> None:
    """An action taken from a list; the same list played by hand says what each moment was."""
    people, todo = crowd(), list(actions(25, 8))
    settings = {"candidates": "rated", "horizon": 12}
    by_hand, asked = sessions_of(people, **settings), []

    def act(observation: Observation) -> Tensor:
        asked.append(observation)
        return todo[len(asked) - 1]

    moments = OwnSessions(sessions_of(people, **settings), act)
    assert iter(moments) is moments
    seen, wanted, told = [], [], []
    for action in todo:
        if by_hand.over:
            by_hand.reset()
        before = by_hand.observation()
        wanted.append((*before, by_hand.wanted.clone(), by_hand.barred.clone()))
        seen.append(next(moments))
        told.append(by_hand.step(action))
    for moment, observation, those in zip(seen, asked, wanted, strict=True):
        assert moment.observation is observation
        ours = [*moment.observation, moment.wanted, moment.barred]
        assert all(torch.equal(*both) for both in zip(ours, those, strict=True))
    for moment, (_, reward, _, _, info) in zip(seen, told, strict=True):
        hit = moment.wanted.gather(1, info["item"].unsqueeze(1)).squeeze(1)
        assert torch.equal(hit.float(), reward)
        assert torch.equal(moment.wanted.any(1), info["active"]), "some have ended and step on"
    assert not all(info["active"].all() for *_, info in told)


@pytest.mark.parametrize("drawn", [0, 2, 9])
def test_own_sessions_go_on_where_they_stopped(drawn: int) -> None:
    people = crowd()

    def act(observation: Observation) -> Tensor:
        """It depends on what was seen."""
        films = torch.cat([observation.memory, observation.rejected], 1)
        return (films.float().unsqueeze(2) * torch.arange(1.0, K + 1)).sin().sum(1)

    whole = OwnSessions(sessions_of(people), act)
    for _ in range(drawn):
        next(whole)
    resumed = OwnSessions(sessions_of(people, generator=generator_of(9)), act)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for _ in range(10):
        ours, theirs = next(resumed), next(whole)
        assert torch.equal(ours.wanted, theirs.wanted)
        assert torch.equal(ours.barred, theirs.barred)
        assert torch.equal(ours.observation.rejected, theirs.observation.rejected)


# ------------------------------------------------------------------------------------ the loss


def some_likes(dtype: torch.dtype = torch.float64, size: int = 6, seed: int = 0) -> tuple:
    """(vectors, items, wanted, barred); nothing is wanted in row 2, only one film may be shown in
    row 3 and it is wanted, everything that may be shown is wanted in row 4."""
    generator = generator_of(seed)
    vectors = torch.randn(size, K, generator=generator, dtype=dtype, requires_grad=True)
    items = torch.randn(N_ITEMS, K, generator=generator, dtype=dtype, requires_grad=True)
    barred = torch.rand(size, N_ITEMS, generator=generator) < 0.3
    wanted = (torch.rand(size, N_ITEMS, generator=generator) < 0.3) & ~barred
    wanted[2] = False
    barred[3], wanted[3] = torch.arange(N_ITEMS) != 7, torch.arange(N_ITEMS) == 7
    wanted[4] = ~barred[4]
    return vectors, items, wanted, barred


def plain_loss(
    vectors: Tensor, items: Tensor, wanted: Tensor, barred: Tensor, hit: float
) -> Tensor:
    losses = []
    for logits, liked, out in zip(vectors @ items.T, wanted, barred, strict=True):
        if liked.any():
            log_pi = logits[~out].log_softmax(0)[liked[~out]]
            losses.append(-log_pi.mean() - hit * log_pi.logsumexp(0))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("hit", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_likes_loss_is_autograds_in_value_and_gradients(hit: float, dtype: torch.dtype) -> None:
    vectors, items, wanted, barred = some_likes(dtype)
    results = []
    for loss in (LikesLoss.apply, plain_loss):
        value = loss(vectors, items, wanted, barred, hit)
        results.append((value, *torch.autograd.grad(5 * value, (vectors, items))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert (results[0][1][2] == 0).all(), "where nothing is wanted nothing is learned"
    assert (results[0][1][3].abs() < 1e-6).all(), "nor where there is no choice"


def test_likes_loss_gradient_by_finite_differences() -> None:
    vectors, items, wanted, barred = some_likes()
    assert torch.autograd.gradcheck(
        lambda v, i: LikesLoss.apply(v, i, wanted, barred, 2.0), (vectors, items)
    )


def test_likes_loss_teaches_the_columns_that_learn_as_it_does_with_all() -> None:
    vectors, items, wanted, barred = some_likes()
    learns = torch.tensor([0, 3])
    all_of_it, some_of_it = (
        torch.autograd.grad(LikesLoss.apply(vectors, items, wanted, barred, 3.0, which), inputs)
        for inputs in ((vectors, items),)
        for which in (None, learns)
    )
    assert torch.equal(some_of_it[0], all_of_it[0])
    torch.testing.assert_close(some_of_it[1][:, learns], all_of_it[1][:, learns])
    assert not some_of_it[1][:, [1, 2, 4]].any()


def test_likes_loss_in_closed_form() -> None:
    """Equal scores of m films, w of them wanted: log m + hit log (m / w)."""
    wanted, barred = torch.zeros(2, 2, N_ITEMS, dtype=torch.bool)
    barred[0, :4], wanted[0, 4:9] = True, True  # m = 20, w = 5
    wanted[1, :6] = True  # m = 24, w = 6
    parts = torch.zeros(2, K), torch.ones(N_ITEMS, K), wanted, barred
    for hit in (0.0, 3.0):
        wants = np.log([20, 24]).mean() + hit * np.log(4)
        assert float(LikesLoss.apply(*parts, hit)) == pytest.approx(wants, rel=1e-5)


def test_likes_loss_does_not_count_sessions_in_which_nothing_is_wanted() -> None:
    vectors, items, wanted, barred = some_likes(torch.float32)
    rows = torch.tensor([0, 1, 3, 4, 5])
    with_it = LikesLoss.apply(vectors, items, wanted, barred, 3.0)
    without = LikesLoss.apply(vectors[rows], items, wanted[rows], barred[rows], 3.0)
    torch.testing.assert_close(with_it, without)
    nobody = LikesLoss.apply(vectors, items, torch.zeros_like(wanted), barred, 3.0)
    assert float(nobody.detach()) == 0
    gradients = torch.autograd.grad(nobody, (vectors, items))
    assert all((gradient == 0).all() for gradient in gradients)


def test_likes_loss_survives_sessions_in_which_all_is_barred_and_large_scores() -> None:
    vectors, items, wanted, barred = some_likes(torch.float32)
    wanted[2], barred[2] = False, True
    loss = LikesLoss.apply(vectors * 30, items, wanted, barred, 3.0)
    gradients = torch.autograd.grad(loss, (vectors, items))
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)
    torch.testing.assert_close(loss, plain_loss(vectors * 30, items, wanted, barred, 3.0))


@pytest.mark.parametrize(("state", "hit"), [("set", 0.0), ("set", 3.0), ("ave", 3.0)])
def test_the_agent_learns_by_that_loss_with_its_own_weight(state: str, hit: float) -> None:
    agent = DDPG(settings_of(state=state, imitate="own", hit=hit), 14, N_ITEMS)
    moment = next(agent.play(crowd())[1])
    action, vectors = agent.act(moment.observation), agent.actor.item_vectors
    wanted = plain_loss(action, vectors, moment.wanted, moment.barred, hit)
    torch.testing.assert_close(agent.imitation_loss(moment), wanted)


# ----------------------------------------------------------------------------------- the critic


def critic_of(form: str) -> Critic:
    torch.manual_seed(0)
    state = drr_set()
    return Critic(state, 16, form).eval()


@torch.no_grad()
def test_q_of_a_mean_film_is_the_mean_of_q() -> None:
    """In the bilinear form, whatever the weights; in the other it is not."""
    seen = seen_of(([1, 2], [4]), ([], [5]), ([7], []))
    weight = torch.rand(3, N_ITEMS, generator=generator_of(0)).softmax(1)
    for form in ("bilinear", "joint"):
        critic = critic_of(form)
        films = critic.item_vectors
        each = torch.stack([critic(seen, film.expand(3, -1)) for film in films], 1)  # (3, V)
        assert (each.std(1) > 1e-3).all(), "films differ"
        assert (each.std(0) > 1e-3).all(), "and so do states"
        gap = (critic(seen, weight @ films) - (weight * each).sum(1)).abs()
        assert (gap < 1e-4).all() == (form == "bilinear")


@torch.no_grad()
def test_the_bilinear_critic_against_its_formula() -> None:
    critic, seen = critic_of("bilinear"), seen_of(([1, 2], [4]), ([], [5]))
    action = torch.randn(2, K + 1, generator=generator_of(1))
    for row in range(2):
        state = F.relu(critic.read(critic.state(seen.at(slice(row, row + 1)))[0]))
        wanted = critic.value(state) + critic.join(state) @ action[row]
        torch.testing.assert_close(critic(seen, action)[row], wanted[0])


def test_the_agent_has_the_critic_that_it_is_told() -> None:
    for form in ("joint", "bilinear"):
        agent = DDPG(settings_of(critic=form), 3, N_ITEMS)
        assert (agent.critic.form, agent.target_critic.form) == (form, form)
        assert agent.critic.join.out_features == (16 if form == "joint" else 6)
    with pytest.raises(ValueError, match="critic must be one of"):
        settings_of(critic="linear")


# --------------------------------------------------------------------------------------- replay


def some_steps(count: int, n: int = 3, start: int = 0) -> Transitions:
    """Every number in it is another one."""
    profile = start * 10 + torch.rand(count, 2, generator=generator_of(start))
    numbers = start * 100 + torch.arange(4 * count * n).view(4, count, n)
    before, after = (Observation(torch.arange(count), *numbers[i : i + 2], profile) for i in (0, 2))
    reward = torch.arange(count) / 2 + start
    return Transitions(before, torch.arange(count) + 7, reward, after, torch.arange(count) % 2 == 0)


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedReplayBuffer])
def test_replay_keeps_both_memories_of_both_moments(kind: type[ReplayBuffer]) -> None:
    replay, stored = kind(8, 3, rejections=True, profile=2), some_steps(5)
    places = replay.add(stored)
    order = torch.tensor([4, 0, 2])
    back = replay.take(places[order])
    for name in ("observation", "next_observation"):
        for ours, theirs in zip(getattr(back, name), getattr(stored, name), strict=True):
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs[order])
    later = some_steps(6, start=1)
    places = replay.add(later)  # overwrites the oldest three
    again = replay.take(places)
    assert torch.equal(again.observation.rejected, later.observation.rejected)
    assert torch.equal(again.next_observation.rejected, later.next_observation.rejected)
    kept = replay.take(torch.tensor([3, 4])).next_observation.rejected
    assert torch.equal(kept, stored.next_observation.rejected[3:])


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedReplayBuffer])
def test_replay_without_rejections_gives_none(kind: type[ReplayBuffer]) -> None:
    replay = kind(8, 3)
    replay.add(some_steps(5))
    batch, _, _ = replay.sample(4, generator_of(0))
    assert batch.observation.rejected is None
    assert batch.next_observation.rejected is None
    assert batch.observation.memory.shape == (4, 3)


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedReplayBuffer])
def test_a_loaded_replay_has_the_rejections(kind: type[ReplayBuffer], tmp_path) -> None:
    replay, other = (kind(8, 3, rejections=True, profile=2) for _ in range(2))
    replay.add(some_steps(5))
    torch.save(replay.state_dict(), tmp_path / "replay.pt")
    other.load_state_dict(torch.load(tmp_path / "replay.pt", weights_only=True))
    for ours, theirs in zip(other.take(torch.arange(5)).next_observation,
                            some_steps(5).next_observation, strict=True):  # fmt: skip
        assert torch.equal(ours, theirs)


def test_steps_of_sessions_that_are_over_are_dropped_with_their_rejections() -> None:
    steps, live = some_steps(4), torch.tensor([True, False, False, True])
    kept = Transitions.of(
        steps.observation, steps.item, steps.reward, steps.next_observation, steps.terminated, live
    )
    assert torch.equal(kept.observation.rejected, steps.observation.rejected[[0, 3]])
    assert torch.equal(kept.next_observation.rejected, steps.next_observation.rejected[[0, 3]])


@pytest.mark.parametrize("replay", ["uniform", "prioritized"])
@pytest.mark.parametrize("imitate", ["own", "next"])
def test_the_agents_replay_keeps_rejections_where_there_are_any(replay: str, imitate: str) -> None:
    settings = settings_of(state="set", imitate=imitate, replay=replay, n=5)
    training = Training(crowd(), settings)
    stored = training.collect()
    batch, _, _ = training.replay.sample(6, generator_of(0))
    if imitate == "next":
        assert stored.observation.rejected is None
        assert batch.observation.rejected is None
        return
    for _ in range(2):
        stored = training.collect()
    back = training.replay.take(torch.arange(len(training.replay)))
    for ours, theirs in (
        (back.observation.rejected, stored.observation.rejected),
        (back.next_observation.rejected, stored.next_observation.rejected),
    ):
        assert torch.equal(ours[-len(theirs) :], theirs)
    assert (stored.next_observation.rejected < N_ITEMS).any()


# ------------------------------------------------------------------------------------ the agent


def test_an_agent_plays_as_its_settings_say() -> None:
    people = crowd()
    settings = settings_of(
        state="set", imitate="own", n=7, given=0.4, candidates="rated", horizon=5, epsilon=0.0
    )
    agent = DDPG(settings, people.n_users, N_ITEMS)
    played, moments = agent.play(people)
    assert moments.sessions is not played
    for sessions in (played, moments.sessions):
        assert (sessions.sessions, sessions.n, sessions.horizon) == (8, 7, 5)
        assert (sessions.given, sessions.candidates) == (0.4, "rated")
        assert sessions.item_vectors.data_ptr() == agent.actor.item_vectors.data_ptr()
    assert not torch.equal(*(s.reset()[0].memory for s in (played, moments.sessions)))
    again, _ = DDPG(settings, people.n_users, N_ITEMS).play(people)
    assert torch.equal(again.reset(seed=0)[0].memory, played.reset(seed=0)[0].memory)
    first, second = next(moments), next(moments)  # without exploration: the best film of each
    best = agent.actor.scores(agent.act(first.observation)).masked_fill(first.barred, -torch.inf)
    shown = second.barred & ~first.barred
    assert torch.equal(shown.long().argmax(1)[shown.any(1)], best.argmax(1)[shown.any(1)])


def test_own_sessions_explore() -> None:
    """With epsilon = 1 the moments are reached by random films, not by the best."""
    people = crowd()
    shown = []
    for epsilon in (0.0, 1.0):
        settings = settings_of(state="set", imitate="own", epsilon=epsilon)
        _, moments = DDPG(settings, people.n_users, N_ITEMS).play(people)
        first, second = next(moments), next(moments)
        shown.append(second.barred & ~first.barred)
    assert not torch.equal(*shown)


@pytest.mark.parametrize("name", ["set", "likes", "ave"])
def test_scores_of_a_history_are_those_of_the_same_session(name: str) -> None:
    """Played step by step; the history is told what was shown and not liked in both ways, as
    SHOWN and as a rating below 4."""
    people, steps = crowd(), 8
    settings = settings_of(state=name, imitate="own", n=6)
    agent = DDPG(settings, people.n_users, N_ITEMS)
    if name != "ave":
        with torch.no_grad():
            for parameter in agent.actor.state.parameters():
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator_of(1))
    sessions, _ = agent.play(people)
    observation, _ = sessions.reset()
    item = observation.memory[:, -3:]
    rating = torch.full(item.shape, POSITIVE)
    assert (item < N_ITEMS).all()
    before, changed = None, 0
    for step in range(steps):
        scores = agent.actor.scores(agent.act(observation))
        for told in (SHOWN, 2.0):
            stars = torch.where(rating > 0, rating, told)
            history = Histories(observation.user, item, stars)
            torch.testing.assert_close(agent.score(history), scores)
        changed += before is not None and not torch.equal(scores, before)
        before = scores
        action = torch.randn(8, agent.actor.item_vectors.shape[1], generator=generator_of(step))
        observation, reward, _, _, info = sessions.step(action)
        item = torch.cat([item, info["item"].unsqueeze(1)], 1)
        stars = torch.where(reward > 0, 4.5, SHOWN)
        rating = torch.cat([rating, stars.unsqueeze(1)], 1)
    assert changed == steps - 1 if name == "set" else changed > 0


def test_scores_put_the_model_into_eval() -> None:
    actor = Actor(drr_set().train(), 16)
    history = Histories(torch.tensor([3]), torch.tensor([[1, 2]]), torch.tensor([[4.0, 0.0]]))
    assert torch.equal(actor.score(history), actor.score(history))


# ------------------------------------------------------------------- learning rate of the vectors


def moved(pace: float, train) -> dict[str, Tensor]:
    """How far `train(training)` moves each parameter of actor and critic."""
    settings = settings_of(
        state="set", imitate="own", n=6, vectors_lr=pace, weight_decay=0.1, cloning=1.0
    )
    training = Training(crowd(), settings)
    before = training.weights()
    train(training)
    return {name: after - before[name] for name, after in training.weights().items()}


def test_the_vectors_have_a_learning_rate_of_their_own_in_stage_1() -> None:
    """The first step of Adam has the length of the learning rate, so paces are seen at once."""
    whole, slow, still = (moved(pace, lambda t: t.imitate(1)) for pace in (1.0, 0.25, 0.0))
    name = "actor.state.item_vectors.weight"
    assert float(whole[name].abs().max()) > 1e-6
    torch.testing.assert_close(slow[name], whole[name] / 4, rtol=1e-3, atol=1e-8)
    assert (still[name] == 0).all()
    for other in whole.keys() - {name}:
        assert torch.equal(slow[other], whole[other])
    assert (whole["actor.state.read.weight"] != 0).any()


def test_the_vectors_have_a_learning_rate_of_their_own_in_stage_2() -> None:
    def train(training: Training) -> None:
        training.agent.start_ddpg()
        training.run(1)

    whole, slow, still = (moved(pace, train) for pace in (1.0, 0.25, 0.0))
    for part in ("critic", "actor"):
        name = f"{part}.state.item_vectors.weight"
        assert float(whole[name].abs().max()) > 1e-5
        assert (still[name] == 0).all()
        # the actor's gradient comes through the critic, which has moved by then
        tolerance = 1e-3 if part == "critic" else 0.2
        ratio = slow[name].norm() / whole[name].norm()
        assert float(ratio) == pytest.approx(0.25, rel=tolerance)
    for other in ("read.weight", "join.weight", "state.read.weight"):
        assert torch.equal(slow[f"critic.{other}"], whole[f"critic.{other}"])


def test_both_stages_keep_the_pace_of_the_vectors() -> None:
    agent = DDPG(settings_of(state="set", imitate="own", vectors_lr=0.1), 3, N_ITEMS)

    def rates(optimizer: torch.optim.Optimizer) -> list[float]:
        return [group["lr"] for group in optimizer.param_groups]

    assert rates(agent.actor_optimizer) == pytest.approx([1e-3, 1e-4])
    assert rates(agent.critic_optimizer) == pytest.approx([1e-3, 1e-4])
    moments = agent.play(crowd())[1]
    for _ in range(3):
        agent.imitate(next(moments))
        fast, slow = rates(agent.actor_optimizer)
        assert slow == pytest.approx(fast / 10)
    agent.start_ddpg()
    assert rates(agent.actor_optimizer) == pytest.approx([1e-4, 1e-5])
    vectors = {id(agent.actor.state.item_vectors.weight)}
    assert {id(p) for p in agent.actor_optimizer.param_groups[1]["params"]} == vectors
    assert agent.actor_optimizer.param_groups[1]["weight_decay"] == 0


# ------------------------------------------------------------------------- a start from counts


def test_shared_people_against_a_loop() -> None:
    people = crowd(20)
    owners = [{u for u in range(20) if film in rows_of(people, u)} for film in range(N_ITEMS)]
    n_people = sum(bool(rows_of(people, user)) for user in range(20))
    assert n_people == 19, "user 2 has no row and is nobody"
    information = Cooccurrence._shared(people)
    for one in range(N_ITEMS):
        for two in range(N_ITEMS):
            both = len(owners[one] & owners[two])
            ratio = both * n_people / ((len(owners[one]) + 1) * (len(owners[two]) + 1))
            wanted = np.log(max(1.0, ratio)) if one != two else 0.0
            assert float(information[one, two]) == pytest.approx(wanted, abs=1e-5)
    assert (information > 0).any()


def test_cooccurrence_without_reach_ignores_the_order_and_the_distance() -> None:
    people = crowd(20)
    rng = np.random.default_rng(1)
    rows = [(int(u), int(i), 4.0) for u, i in zip(people.user, people.item, strict=True)]
    shuffled = log_of([rows[place] for place in rng.permutation(len(rows))], 20, N_ITEMS)
    one, two = (Cooccurrence(log, 4, generator_of(0), reach=None) for log in (people, shuffled))
    torch.testing.assert_close(one.item, two.item)
    near, far = (Cooccurrence(log, 4, generator_of(0)) for log in (people, shuffled))
    assert not torch.allclose(near.item, far.item)
    assert torch.equal(one.bias, near.bias)


def test_cooccurrence_vectors_have_the_products_of_the_information() -> None:
    """All of its directions kept, v_i . v_j is the centred absolute value of the matrix."""
    people = crowd(20)
    start = Cooccurrence(people, N_ITEMS, generator_of(0), reach=None)
    strength, directions = torch.linalg.eigh(Cooccurrence._shared(people).double())
    product = directions * strength.abs() @ directions.T
    centre = torch.eye(N_ITEMS).double() - 1 / N_ITEMS
    product = centre @ product @ centre
    spread = (product.trace() / (N_ITEMS**2 - 1)).sqrt()  # of all numbers, their mean being 0
    wanted = product / spread**2 * EMBEDDING_STD**2
    torch.testing.assert_close(start.item @ start.item.T, wanted.float(), rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------------------- learning, resuming


def two_camps(n_users: int = 40) -> Interactions:
    """One camp likes films 0 and 1, not 4 to 13; the other likes 2 and 3, not 14 to 23."""
    rows = []
    for user in range(n_users):
        camp = user % 2
        rows += [(user, 2 * camp + film, 5.0) for film in range(2)]
        rows += [(user, 4 + 10 * camp + film, 1.0) for film in range(10)]
    return log_of(rows, n_users, N_ITEMS)


def first_rewards(name: str) -> Tensor:
    """What the first film earns where a third of all rows is known, but none that is liked."""
    settings = settings_of(
        state=name, imitate="own", given=0.3, n=12, horizon=3, sessions=64, k=8,
        imitation_updates=100, imitation_lr=1e-2,
    )  # fmt: skip
    training = Training(two_camps(), settings)
    training.imitate(100)
    observation, _ = training.sessions.reset()
    unknown = (observation.memory == N_ITEMS).all(1) & (observation.rejected < N_ITEMS).any(1)
    return training.sessions.step(training.agent.act(observation))[1][unknown]


def test_the_agent_learns_what_dislikes_say_if_it_reads_them() -> None:
    seeing, blind = (first_rewards(name) for name in ("set", "likes"))
    assert len(seeing) == len(blind) > 20
    assert float(seeing.mean()) > 0.9
    assert 0.2 < float(blind.mean()) < 0.8


def test_training_repeats_and_goes_on_from_a_checkpoint(tmp_path) -> None:
    """Both stages; an agent of another seed that has been trained is overwritten."""
    settings = settings_of(
        state="set", imitate="own", critic="bilinear", n=6, vectors_lr=0.3, imitation_updates=4
    )
    runs = []
    for seed in (0, 0):
        training = Training(crowd(), replace(settings, seed=seed))
        training.imitate(4)
        training.agent.start_ddpg()
        training.run(3)
        runs.append(training)
    whole, same = (training.weights() for training in runs)
    assert all(torch.equal(whole[name], same[name]) for name in whole)
    training = runs[0]
    state = {name: part.state_dict() for name, part in training.parts.items()}
    torch.save(state, tmp_path / "state.pt")
    resumed = Training(crowd(), settings)
    resumed.imitate(2)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    for name, part in resumed.parts.items():
        part.load_state_dict(state[name])
    for one in (training, resumed):
        one.run(4)
    assert not all(torch.equal(whole[n], w) for n, w in training.weights().items())
    for name, weight in resumed.weights().items():
        assert torch.equal(weight, training.weights()[name]), name


def test_settings_of_sessions_with_strangers_are_checked() -> None:
    for wrong in ({"candidates": "some"}, {"imitate": "mine"}, {"state": "sets"}):
        with pytest.raises(ValueError, match="must be one of"):
            Settings(**wrong)
    assert isinstance(DDPG(settings_of(imitate="own"), 3, N_ITEMS).actor.state, DRRave)


# ---------------------------------------------------------------------------- profiles


def known_agent(people: Interactions, profile: str = "als", **settings) -> DDPG:
    """DRR-set that starts from co-occurrence and a linear model."""
    chosen = settings_of(
        state="set", imitate="own", profile=profile, vectors="tuned", n=40, **settings
    )
    generator = generator_of(0)
    start = Cooccurrence(people, chosen.k, generator, reach=None)
    if profile == "als":
        start.linear = ALS(people, 3, generator=generator)
    else:
        start.linear = PMF(people.n_users, people.n_items, 3, generator=generator)
        start.linear.fit(people, generator=generator, epochs=3)
    return DDPG(chosen, people.n_users, people.n_items, start)


@pytest.mark.parametrize("profile", ["pmf", "als"])
def test_a_film_scores_what_sets_say_and_trust_times_what_the_linear_model_says(profile) -> None:
    people = crowd()
    agent = known_agent(people, profile)
    state, histories = agent.actor.state, people.histories(torch.arange(5))
    both = agent.score(histories)
    linear = state.linear.profile(histories) @ state.linear.film_vectors.T
    with torch.no_grad():
        state.trust.zero_()
        sets = agent.score(histories)
    torch.testing.assert_close(both, sets + {"pmf": 4.0, "als": 2.0}[profile] * linear)
    assert linear.std() > 1e-3


def test_sessions_ask_for_a_profile_of_what_is_known_at_their_start() -> None:
    people = crowd()
    agent = known_agent(people, given=0.7)
    sessions, _ = agent.play(people)
    first, _ = sessions.reset()
    named = torch.cat([first.memory, first.rejected], 1)
    stars = (named < people.n_items).float()
    expected = agent.actor.state.profile(Histories(first.user, named, stars))
    torch.testing.assert_close(first.profile, expected)
    later = sessions.step(agent.act(first))[0]
    assert torch.equal(later.profile, first.profile)
    assert first.profile.shape == (8, 3)


def test_half_of_the_profiles_are_withheld_while_the_network_learns() -> None:
    state = known_agent(crowd()).actor.state
    profile = torch.ones(2000, 3)
    assert torch.equal(state.heard(profile), profile)
    heard = state.train().heard(profile)
    assert set(heard.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(heard.amin(1), heard.amax(1)), "a profile is withheld whole or not at all"
    assert 0.4 < float(heard.mean()) < 0.6


@pytest.mark.parametrize("replay", ["uniform", "prioritized"])
def test_an_agent_with_profiles_learns_in_both_stages_and_its_linear_model_does_not(replay) -> None:
    people = crowd()
    agent = known_agent(people, replay=replay, imitation_updates=3, ddpg_updates=3, batch_size=4)
    state = agent.actor.state
    before = state.linear.film_vectors.clone(), state.trust.clone()
    sessions, demonstrations = agent.play(people)
    for _ in range(3):
        agent.imitate(next(demonstrations))
    replay, seen = agent.memory(), sessions.reset()[0]
    agent.start_ddpg()
    for _ in range(3):
        after, reward, terminated, _, info = sessions.step(agent.explore(agent.act(seen)))
        live = info["active"]
        replay.add(Transitions.of(seen, info["item"], reward, after, terminated, live))
        batch, weights, _ = replay.sample(4, agent.generator)
        assert batch.observation.profile.shape == (4, 3)
        agent.update(batch, weights, next(demonstrations))
        seen = after
    assert torch.equal(state.linear.film_vectors, before[0])
    assert not torch.equal(state.trust, before[1])


def test_a_profile_needs_a_linear_model_and_the_other_way_round() -> None:
    people = crowd()
    start = Cooccurrence(people, settings_of().k, generator_of(0), reach=None)
    known = settings_of(state="set", imitate="own", profile="als", vectors="tuned")
    with pytest.raises(ValueError, match="does not fit the start"):
        DDPG(known, people.n_users, people.n_items, start)
    start.linear = ALS(people, 3, generator=generator_of(0))
    with pytest.raises(ValueError, match="does not fit the start"):
        DDPG(replace(known, profile=""), people.n_users, people.n_items, start)
    start.linear = PMF(people.n_users, people.n_items, 3, generator=generator_of(0))
    with pytest.raises(ValueError, match="does not fit the start"):
        DDPG(known, people.n_users, people.n_items, start)
    for other in ({"state": "likes"}, {"imitate": "next"}, {"vectors": "random"}):
        with pytest.raises(ValueError, match="only DRR-set"):
            replace(known, **other)


def test_frozen_vectors_leave_the_linear_model_frozen_too() -> None:
    people = crowd()
    start = Cooccurrence(people, settings_of().k, generator_of(0), reach=None)
    start.linear = PMF(people.n_users, people.n_items, 3, generator=generator_of(0))
    settings = settings_of(state="set", imitate="own", profile="pmf", vectors="frozen")
    agent = DDPG(settings, people.n_users, people.n_items, start)
    assert not any(p.requires_grad for p in agent.actor.state.linear.parameters())
    assert not agent.actor.state.profile(people.histories(torch.arange(3))).requires_grad
    assert agent.actor.state.read.weight.requires_grad


@pytest.mark.parametrize("state", ["ave", "set", "likes"])
def test_every_state_with_own_sessions_has_a_replay(state: str) -> None:
    people = crowd()
    agent = DDPG(settings_of(state=state, imitate="own", n=6), people.n_users, people.n_items)
    assert agent.memory().profile.shape[1] == 0


def test_nobody_has_a_profile_of_the_right_width() -> None:
    state = known_agent(crowd()).actor.state
    nobody = Histories(*(torch.zeros(shape, dtype=kind) for shape, kind in (
        ((0,), torch.int64), ((0, 4), torch.int64), ((0, 4), torch.float32))))  # fmt: skip
    assert state.profile(nobody).shape == (0, 3)


@pytest.mark.parametrize("profile", ["pmf", "als"])
def test_an_agent_that_knows_people_is_not_released(tmp_path, profile) -> None:
    people = crowd()
    with pytest.raises(ValueError, match="not released"):
        release(
            known_agent(people, profile),
            people,
            tmp_path,
            dataset="d",
            command="c",
            protocol="p",
            metrics={},
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", [-1, -0.2, 2.5])
def test_given_is_a_count_or_a_share(given: float) -> None:
    with pytest.raises(ValueError, match="a number of films or a share"):
        sessions_of(crowd(), given=given)


def test_nobody_is_met_who_has_too_little_to_like() -> None:
    people = crowd()
    sessions = sessions_of(people)
    others = set(range(people.n_users)) - set(sessions.fans.tolist())
    sessions.fans = sessions.fans[1:]
    others.add(int(StrangerSessions(people, vectors_of(people)).fans[0]))
    with pytest.raises(ValueError, match="likes a few films more"):
        sessions.reset(options={"users": torch.tensor(sorted(others))})


@pytest.mark.parametrize(
    "wrong", [{"k": 0}, {"n": 0}, {"sessions": 0}, {"horizon": 0}, {"capacity": 3, "sessions": 4}]
)
def test_settings_refuse_what_cannot_be_trained(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


# ---------------------------------------------------------------------------- the ridge


def ridge_agent(people: Interactions, ridge: float = 0.4, **settings) -> DDPG:
    chosen = settings_of(
        state="set", imitate="own", profile="ridge", vectors="tuned", n=6, **settings
    )
    start = Cooccurrence(people, chosen.k, generator_of(0), reach=None)
    start.linear = LikesRidge(*like_vectors(people, 3, generator_of(0)), ridge)
    return DDPG(chosen, people.n_users, people.n_items, start)


def test_the_ridge_is_lin_ucb_without_its_bonus() -> None:
    people = crowd()
    vectors, prior = like_vectors(people, 3, generator_of(0))
    ridge, bandit = LikesRidge(vectors, prior, 0.4), LinUCB(vectors, prior=prior, ridge=0.4)
    item = torch.tensor([[N_ITEMS, 1, 2, 3], [N_ITEMS, N_ITEMS, 5, 0], [N_ITEMS] * 4])
    stars = torch.tensor([[0, 5.0, SHOWN, 4.0], [0, 0, 2.0, SHOWN], [0, 0, 0, 0]])
    memories = likes_and_rejections(Histories(torch.zeros(3), item, stars), 6, N_ITEMS)
    seen = Observation(torch.zeros(3), *memories, torch.zeros(3, 0))
    theta, _ = bandit.person(Histories(torch.zeros(3), item, stars))
    torch.testing.assert_close(ridge.person(seen), theta, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ridge.person(seen)[2], prior)


def test_the_ridge_is_trusted_more_the_more_answers_there_are() -> None:
    state = ridge_agent(crowd()).actor.state
    films = [[], [1, 2], [1, 2, 3]]
    memory = torch.tensor([padded(f, 6) for f in films])
    empty = torch.full_like(memory, N_ITEMS)
    weight = state.trusted(Observation(torch.zeros(3), memory, empty)).squeeze(1)
    first, slope = LikesRidge.trust
    torch.testing.assert_close(weight, first + slope * torch.tensor([0.0, 2 / 6, 3 / 6]))


def trained(agent: DDPG, people: Interactions) -> None:
    """Three updates of each stage."""
    sessions, demonstrations = agent.play(people)
    for _ in range(3):
        agent.imitate(next(demonstrations))
    replay, seen = agent.memory(), sessions.reset()[0]
    agent.start_ddpg()
    for _ in range(3):
        after, reward, terminated, _, info = sessions.step(agent.explore(agent.act(seen)))
        live = info["active"]
        replay.add(Transitions.of(seen, info["item"], reward, after, terminated, live))
        batch, weights, _ = replay.sample(4, agent.generator)
        agent.update(batch, weights, next(demonstrations))
        seen = after


def test_an_agent_with_a_ridge_learns_in_both_stages_and_comes_back_from_its_files(
    tmp_path,
) -> None:
    people = crowd()
    agent = ridge_agent(people, ridge=2.0, imitation_updates=3, ddpg_updates=3, batch_size=4)
    before = agent.actor.state.linear.film_vectors.clone()
    trained(agent, people)
    assert torch.equal(agent.actor.state.linear.film_vectors, before)
    about = {"dataset": "d", "command": "c", "protocol": "p", "metrics": {}}
    release(agent, people, tmp_path, **about)
    back = Recommender.load(tmp_path)
    histories = people.histories(torch.arange(5))
    assert torch.equal(back.score(histories), agent.score(histories))


def test_rejections_fill_the_memories_too() -> None:
    state = ridge_agent(crowd()).actor.state
    weight = state.trusted(seen_of(([], []), ([1, 2], [4]), ([1, 2, 3], [5, 6]))).squeeze(1)
    first, slope = LikesRidge.trust
    torch.testing.assert_close(weight, first + slope * torch.tensor([0.0, 3 / 6, 5 / 6]))


def test_half_of_the_regressions_are_withheld_while_the_network_learns() -> None:
    state, seen = ridge_agent(crowd()).actor.state, seen_of(*[([1, 2], [4])] * 400)
    assert state(seen)[:, state.k : -1].any(1).all()
    assert 0.4 < float(state.train()(seen)[:, state.k : -1].any(1).float().mean()) < 0.6


# ---------------------------------------------------------------------------- a Gaussian beside it


def gaussian_agent(people: Interactions, noise: float = 0.1, **settings) -> DDPG:
    chosen = settings_of(
        state="set", imitate="own", profile="gaussian", vectors="tuned", n=6, **settings
    )
    start = Cooccurrence(people, chosen.k, generator_of(0), reach=None)
    start.linear = GaussianLikes.fit(people, 3, generator_of(0), noise)
    return DDPG(chosen, people.n_users, people.n_items, start)


def test_a_film_scores_what_sets_say_and_trust_times_what_the_gaussian_says() -> None:
    people = crowd()
    agent = gaussian_agent(people)
    state, histories = agent.actor.state, people.histories(torch.arange(5))
    histories = Histories(histories.user, histories.item[:, -5:], histories.rating[:, -5:])
    both, alone = agent.score(histories), state.linear.score(histories)
    with torch.no_grad():
        state.trust.zero_()
        sets = agent.score(histories)
    first, slope = GaussianLikes.trust
    answers = (histories.item < N_ITEMS).sum(1, keepdim=True)
    torch.testing.assert_close(both, sets + (first + slope * answers / 6) * alone)
    assert alone.std() > 1e-2


def test_the_gaussian_is_trusted_by_a_line_in_the_number_of_answers() -> None:
    state = gaussian_agent(crowd()).actor.state
    seen = seen_of(([], []), ([1, 2], []), ([1, 2], [4]), ([1, 2, 3], [5, 6]))
    first, slope = GaussianLikes.trust
    weight = first + slope * torch.tensor([0.0, 2 / 6, 3 / 6, 5 / 6])
    torch.testing.assert_close(state.trusted(seen).squeeze(1), weight)


def test_the_gaussians_vectors_stay_while_the_agents_own_learn() -> None:
    people = crowd()
    agent = gaussian_agent(people, imitation_updates=3, ddpg_updates=3, batch_size=4)
    networks = agent.actor, agent.critic, agent.target_actor, agent.target_critic
    before = [network.state.item_vectors.weight.clone() for network in networks]
    trained(agent, people)
    k = agent.settings.k
    for network, old in zip(networks, before, strict=True):
        own, theirs, bias = (network.state.item_vectors.weight - old).split([k, 4, 1], dim=1)
        assert not theirs.any()
        assert own[:-1].any()
        assert bias[:-1].any() or network in (agent.critic, agent.target_critic)
    assert torch.equal(agent.actor.item_vectors[:, k:-1], agent.actor.state.linear.film_vectors)


def test_actor_critic_and_targets_ask_one_gaussian_and_once(monkeypatch) -> None:
    people = crowd()
    agent = gaussian_agent(people, critic="bilinear", batch_size=4, sessions=4)
    agent.start_ddpg()
    replay, (sessions, demonstrations) = agent.memory(), agent.play(people)
    sessions.reset()
    before = sessions.observation()
    after, reward, terminated, _, info = sessions.step(agent.act(before))
    replay.add(Transitions.of(before, info["item"], reward, after, terminated, info["active"]))
    batch, weights, _ = replay.sample(4, agent.generator)
    demonstration, asked = next(demonstrations), []
    monkeypatch.setattr(
        GaussianLikes,
        "_posterior",
        lambda self, seen, count=GaussianLikes._posterior: asked.append(seen) or count(self, seen),
    )
    agent.update(batch, weights, demonstration)
    wants = batch.observation, batch.next_observation, batch.observation, demonstration.observation
    assert [seen.memory is want.memory for seen, want in zip(asked, wants, strict=True)] == [
        True
    ] * 4


def test_an_agent_with_a_gaussian_comes_back_from_its_files(tmp_path) -> None:
    people = crowd()
    agent = gaussian_agent(people, 0.3, imitation_updates=3, ddpg_updates=3, batch_size=4)
    trained(agent, people)
    about = {"dataset": "d", "command": "c", "protocol": "p", "metrics": {}}
    release(agent, people, tmp_path, **about)
    back = Recommender.load(tmp_path)
    histories = people.histories(torch.arange(5))
    assert torch.equal(back.score(histories), agent.score(histories))
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["n_people"] == 13  # one has no rows
    config["settings"]["k"] = 1000
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="config in .* is damaged"):
        Recommender.load(tmp_path)


def test_an_agent_that_is_loaded_reads_the_gaussian_that_was_saved() -> None:
    people = crowd()
    one, other = (
        gaussian_agent(part, noise) for part, noise in ((people, 0.1), (crowd(seed=7), 0.4))
    )
    histories = people.histories(torch.arange(5))
    assert not torch.allclose(other.score(histories), one.score(histories), atol=1e-2)
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(other.score(histories), one.score(histories))
    assert torch.equal(other.critic.state.linear._noise, one.critic.state.linear._noise)


def test_some_people_are_met_in_stage_2_only() -> None:
    people = crowd()
    assert in_two_circles(people, 0.0, 1) == (people, people)
    first, later = in_two_circles(people, 0.3, seed=1)
    apart = [set(part.user.tolist()) for part in (first, later)]
    assert apart[0].isdisjoint(apart[1])
    assert apart[0] | apart[1] == set(people.user.tolist())
    assert len(apart[1]) == round(0.3 * len(set(people.user.tolist())))
    assert len(first) + len(later) == len(people)
    others = in_two_circles(people, 0.3, seed=2)[1]
    assert set(others.user.tolist()) != apart[1]


def test_stage_2_plays_and_imitates_with_the_people_that_stage_1_has_not_met() -> None:
    people = crowd()
    agent = gaussian_agent(people, unmet=0.4, imitation_updates=3, ddpg_updates=3, batch_size=4)
    first, later = (
        set(part.user.tolist()) for part in in_two_circles(people, 0.4, agent.settings.seed)
    )
    sessions, demonstrations = agent.play(people)
    for _ in range(3):
        assert set(demonstrations.sessions.people.user.tolist()) == first
        agent.imitate(next(demonstrations))
    assert set(demonstrations.sessions.people.user.tolist()) == later
    assert set(sessions.people.user.tolist()) == later
    next(demonstrations)
    again = agent.play(people)[1]
    again.load_state_dict(demonstrations.state_dict())
    for mine, theirs in ((again.first, demonstrations.first), (again.later, demonstrations.later)):
        assert torch.equal(mine.wanted, theirs.wanted)
    assert not torch.equal(again.first.wanted, again.later.wanted)


def test_the_trust_has_a_pace_of_its_own_in_stage_2() -> None:
    people = crowd()
    for pace in (1.0, 100.0):
        agent = gaussian_agent(
            people, trust_pace=pace, imitation_updates=1, ddpg_updates=9, critic_warmup=0
        )
        agent.imitate(next(agent.play(people)[1]))
        agent.start_ddpg()
        groups = agent.actor_optimizer.param_groups
        (of_trust,) = (g for g in groups if any(p is agent.actor.state.trust for p in g["params"]))
        assert of_trust["lr"] == pytest.approx(pace * agent.settings.actor_lr)
        assert groups[0]["lr"] == agent.settings.actor_lr
        assert of_trust["weight_decay"] == (agent.settings.weight_decay if pace == 1 else 0)


@pytest.mark.parametrize("put_back", [False, True])
def test_the_trust_is_put_back_before_stage_2_where_it_is_told(put_back) -> None:
    agent = gaussian_agent(crowd(), trust_put_back=put_back)
    learned = torch.tensor([3.0, 1.0])
    agent.actor.state.trust.data = learned.clone()
    agent.start_ddpg()
    expected = torch.tensor(GaussianLikes.trust) if put_back else learned
    for actor in (agent.actor, agent.target_actor):
        assert torch.equal(actor.state.trust.data, expected)
    groups = agent.actor_optimizer.param_groups
    assert any(p is agent.actor.state.trust for group in groups for p in group["params"])


@pytest.mark.parametrize("pace", [1.0, 100.0])
def test_the_warm_start_is_judged_with_the_trust_put_back_where_stage_2_moves_it(pace) -> None:
    agent = gaussian_agent(crowd(), trust_pace=pace)
    warm = {name: weight + 1 for name, weight in agent.actor.state_dict().items()}
    seen = []
    for stage, _ in warm_stages(agent, warm):
        seen.append((stage, agent.actor.state_dict()["state.trust"].tolist()))
        others = {n: w for n, w in agent.actor.state_dict().items() if n != "state.trust"}
        assert all(torch.equal(weight, warm[name]) for name, weight in others.items())
    first, slope = GaussianLikes.trust
    expected = [("imitation", [first + 1, slope + 1])]
    if pace != 1:
        expected.append((TRUST_PUT_BACK, [first, slope]))
    assert seen == expected


@pytest.mark.parametrize("drops", [True, False])
def test_the_critic_learns_with_dropout_where_it_is_told(drops) -> None:
    people = crowd()
    agent = gaussian_agent(people, critic_dropout=drops, batch_size=4, critic="bilinear")
    modes = []
    agent.critic.register_forward_pre_hook(lambda critic, _: modes.append(critic.state.training))
    sessions, demonstrations = agent.play(people)
    seen = sessions.reset()[0]
    after, reward, terminated, _, info = sessions.step(agent.act(seen))
    batch = Transitions.of(seen, info["item"], reward, after, terminated, info["active"])
    agent.settings = replace(agent.settings, critic_warmup=0)
    agent.update(batch, torch.ones(len(batch.item)), next(demonstrations))
    assert modes == [drops, False]  # the error that it learns from, the value that the actor raises


@torch.no_grad()
def test_a_critic_adds_the_reward_that_the_gaussian_expects() -> None:
    people = crowd()
    critic = gaussian_agent(people, critic="bilinear").critic
    seen = seen_of(([1, 2], [4]), ([], [5]))
    films = critic.item_vectors
    before = torch.stack([critic(seen, film.expand(2, -1)) for film in films], 1)  # (2, V)
    critic.state.linear.scores_are_rewards = False
    without = torch.stack([critic(seen, film.expand(2, -1)) for film in films], 1)
    item = torch.tensor([[1, 2, 4], [N_ITEMS, N_ITEMS, 5]])
    stars = torch.tensor([[5.0, 5.0, SHOWN], [0.0, 0.0, SHOWN]])
    expected = critic.state.linear.score(Histories(torch.zeros(2), item, stars))
    torch.testing.assert_close(before - without, expected, rtol=1e-4, atol=1e-5)


def test_half_of_the_persons_are_withheld_while_the_network_learns() -> None:
    state, seen = gaussian_agent(crowd()).actor.state, seen_of(*[([1, 2], [4])] * 400)
    assert state(seen)[:, state.k : -1].any(1).all()
    assert 0.4 < float(state.train()(seen)[:, state.k : -1].any(1).float().mean()) < 0.6


def test_the_sets_read_their_own_columns() -> None:
    state, films = gaussian_agent(crowd()).actor.state, torch.tensor([padded([1, 2, 5], 6)])
    before, _ = state.summary(films, state.item_vectors.weight[:, : state.k])
    with torch.no_grad():
        state.item_vectors.weight[:, state.k :] += 1
    assert torch.equal(state.summary(films, state.item_vectors.weight[:, : state.k])[0], before)


def test_films_that_were_shown_have_no_share_in_the_mean_film() -> None:
    actor, seen = Actor(drr_set(), 16), seen_of(([1, 2], [4]), ([], [7]))
    chance = actor.expected_film(actor(seen), torch.eye(N_ITEMS), seen)
    gone = torch.zeros(2, N_ITEMS, dtype=torch.bool)
    gone[0, [1, 2, 4]] = gone[1, 7] = True
    assert torch.equal(chance == 0, gone)
