"""The logged sessions: Gymnasium's contract, the reward table, and what the log allows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from toys import log_of, random_log, two_tastes

from recsys_rl.agent.demonstrations import Moments
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.histories import POSITIVE
from recsys_rl.data.rewards import paper_reward
from recsys_rl.data.splits import leave_one_out
from recsys_rl.envs.logged import LoggedSessions, RecommendationEnv

K = 5


def vectors_of(log: Interactions, seed: int = 0) -> torch.Tensor:
    return torch.randn(log.n_items, K, generator=torch.Generator().manual_seed(seed))


def sessions_of(log: Interactions, **settings) -> LoggedSessions:
    settings = {"sessions": 8, "n": 3, "horizon": 6} | settings
    settings.setdefault("generator", torch.Generator().manual_seed(1))
    return LoggedSessions(log, vectors_of(log), **settings)


def begin(sessions: LoggedSessions, users: list[int], start: int | list[int]) -> torch.Tensor:
    """Starts the users' sessions `start` rows after the first; returns the rows."""
    user = torch.tensor(users)
    rows = sessions.log.offsets[user] + torch.as_tensor(start)
    sessions.reset(options={"users": user, "rows": rows})
    return rows


def memory_by_loop(log: Interactions, user: int, row: int, n: int, least: float) -> list[int]:
    first = int(log.offsets[user])
    read = [int(log.item[r]) for r in range(first, row) if float(log.rating[r]) >= least][-n:]
    return [log.n_items] * (n - len(read)) + read


# ------------------------------------------------------------------------------------ Gymnasium


@pytest.mark.parametrize("settings", [{}, {"horizon": 2, "anonymous_share": 1.0, "n": 1}])
def test_gymnasium_accepts_the_environment(settings: dict) -> None:
    log = random_log()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*Not able to test alternative render modes.*")
        warnings.filterwarnings("ignore", message=".*not within the environment spec.*")
        warnings.filterwarnings("ignore", message=".*spec.*None.*")
        check_env(RecommendationEnv(log, vectors_of(log), **settings), skip_render_check=True)


def test_the_gymnasium_environment_is_a_batch_of_one() -> None:
    log = random_log()
    env = RecommendationEnv(log, vectors_of(log), n=3, horizon=6)
    batch = sessions_of(log, sessions=1)
    rng = np.random.default_rng(0)
    for seed in range(5):
        seen, _ = env.reset(seed=seed)
        observation, _ = batch.reset(seed=seed)
        over = False
        while not over:
            assert env.observation_space.contains(seen)
            assert seen["user"] == int(observation.user)
            assert seen["memory"].tolist() == observation.memory[0].tolist()
            action = rng.uniform(-1, 1, K).astype(np.float32)
            seen, reward, terminated, truncated, info = env.step(action)
            observation, *theirs, their_info = batch.step(torch.from_numpy(action[None]))
            assert [reward, terminated, truncated] == [t.item() for t in theirs]
            assert info["item"] == int(their_info["item"])
            over = terminated or truncated


def test_sessions_of_a_batch_do_not_touch_one_another() -> None:
    """B users together and each alone, with the same actions."""
    log = random_log()
    users, starts = list(range(8)), [1] * 8
    actions = torch.randn(6, 8, K, generator=torch.Generator().manual_seed(2))
    together = sessions_of(log, anonymous_share=0.0)
    begin(together, users, starts)
    steps = [together.step(action) for action in actions]
    for row, user in enumerate(users):
        alone = sessions_of(log, anonymous_share=0.0)
        begin(alone, [user], 1)
        for step, action in zip(steps, actions, strict=True):
            observation, *others, info = alone.step(action[row : row + 1])
            assert torch.equal(observation.user[0], step[0].user[row])
            assert torch.equal(observation.memory[0], step[0].memory[row])
            for ours, theirs in zip(others, step[1:4], strict=True):
                assert torch.equal(ours[0], theirs[row])
            for name in ("item", "rating", "active"):
                assert torch.equal(info[name][0], step[4][name][row])


class OneSession:
    """The rules in plain Python, for one session of n = 3."""

    def __init__(
        self, log: Interactions, user: int, row: int, horizon: int, unrated: float
    ) -> None:
        first, end = log.offsets[user : user + 2].tolist()
        self.seen = set(log.item[first:row].tolist())
        ahead = slice(row, end)
        self.answers = dict(zip(log.item[ahead].tolist(), log.rating[ahead].tolist(), strict=True))
        self.memory = memory_by_loop(log, user, row, 3, POSITIVE)
        self.horizon, self.unrated, self.steps, self.over = horizon, unrated, 0, False

    def step(self, scores: list[float]) -> tuple[int, float, bool, bool]:
        film = max(set(range(len(scores))) - self.seen, key=lambda i: scores[i])
        self.seen.add(film)
        self.steps += 1
        rating = self.answers.pop(film, None)
        reward = self.unrated if rating is None else (rating - 3) / 2
        if rating is not None and rating >= POSITIVE:
            self.memory = [*self.memory[1:], film]
        terminated, truncated = not self.answers, self.steps >= self.horizon
        self.over = terminated or truncated
        return film, reward, terminated, truncated


@pytest.mark.parametrize("unrated", [0.0, -0.25])
def test_every_session_of_a_log_against_plain_python(unrated: float) -> None:
    """From every moment of the log, past the end of all sessions."""
    log, horizon = random_log(), 6
    rows = torch.arange(len(log))
    rows = rows[rows != log.offsets[log.user]]
    users = log.user[rows]
    sessions = sessions_of(log, horizon=horizon, unrated=unrated, anonymous_share=0.0)
    observation, _ = sessions.reset(options={"users": users, "rows": rows})
    plain = [
        OneSession(log, user, row, horizon, unrated)
        for user, row in zip(users.tolist(), rows.tolist(), strict=True)
    ]
    generator = torch.Generator().manual_seed(0)
    for _ in range(horizon + 1):
        action = torch.randn(len(rows), K, generator=generator)
        scores = (action @ sessions.item_vectors.T).tolist()
        running = [place for place, one in enumerate(plain) if not one.over]
        for place in running:
            assert observation.memory[place].tolist() == plain[place].memory
        observation, reward, terminated, truncated, info = sessions.step(action)
        assert torch.nonzero(info["active"]).squeeze(1).tolist() == running
        for place in running:
            film, wanted, end, limit = plain[place].step(scores[place])
            assert int(info["item"][place]) == film
            assert float(reward[place]) == wanted
            assert (bool(terminated[place]), bool(truncated[place])) == (end, limit)
    assert sessions.over


# --------------------------------------------------------------------------------- the rewards


def test_reward_table() -> None:
    stars = torch.tensor([5.0, 4.5, 4.0, 3.0, 2.0, 1.0, 0.5])
    wanted = torch.tensor([1.0, 0.75, 0.5, 0.0, -0.5, -1.0, -1.25])
    assert torch.equal(paper_reward(stars), wanted)


@pytest.mark.parametrize("unrated", [0.0, -0.3])
def test_every_film_gives_the_reward_of_its_logged_rating(unrated: float) -> None:
    log = log_of([(0, film, float(film)) for film in range(1, 6)] + [(1, 0, 5.0)] * 1, 2, 8)
    wanted = {1: -1.0, 2: -0.5, 3: 0.0, 4: 0.5, 5: 1.0, 6: unrated, 7: unrated}
    for film, reward in wanted.items():
        sessions = sessions_of(log, unrated=unrated)
        begin(sessions, [0], 0)
        _, got, _, _, info = sessions.execute(torch.tensor([film]))
        assert got.dtype == torch.float32
        assert got.tolist() == pytest.approx([reward])
        assert info["rating"].tolist() == [film if film <= 5 else 0]


def test_what_was_rated_before_the_start_earns_nothing_again() -> None:
    """Its stars are known to the agent; only ratings from the start on count."""
    log = log_of([(0, 1, 5.0), (0, 2, 5.0), (0, 3, 4.0)], 1, 5)
    sessions = sessions_of(log, unrated=-0.25)
    begin(sessions, [0], 2)
    assert sessions.execute(torch.tensor([1]))[1].tolist() == [-0.25]


def test_a_film_answers_once() -> None:
    """`execute` may be told to show a film again: it earns nothing and is not counted again."""
    log = log_of([(0, 1, 5.0), (0, 2, 5.0), (0, 3, 4.0)], 1, 5)
    sessions = sessions_of(log)
    begin(sessions, [0], 1)
    for reward in (1.0, 0.0):
        observation, got, terminated, _, _ = sessions.execute(torch.tensor([2]))
        assert got.tolist() == [reward]
        assert observation.memory.tolist() == [[5, 1, 2]]
        assert not terminated


@pytest.mark.parametrize("options", [{"users": [1]}, {"users": [3]}, {"users": [0], "rows": [3]}])
def test_a_start_that_is_not_in_the_users_log_is_an_error(options: dict) -> None:
    """Users 1 and 3 have no row; row 3 is user 2's, whose films would land in user 0's memory."""
    log = log_of([(0, 0, 5.0), (0, 1, 5.0), (2, 2, 5.0), (2, 3, 5.0)], 4, 6)
    with pytest.raises(ValueError, match="a session starts at a row of its own user"):
        sessions_of(log).reset(options={name: torch.tensor(x) for name, x in options.items()})


def test_an_action_recommends_the_unseen_film_with_the_largest_product() -> None:
    log = random_log()
    sessions = sessions_of(log, anonymous_share=0.0)
    begin(sessions, list(range(8)), 1)
    seen = [{int(log.item[log.offsets[user]])} for user in range(8)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        action = torch.randn(8, K, generator=generator)
        info = sessions.step(action)[4]
        for row in range(8):
            score = (action[row] @ sessions.item_vectors.T).tolist()
            best = max((s, film) for film, s in enumerate(score) if film not in seen[row])[1]
            assert int(info["item"][row]) == best
            seen[row].add(best)


def test_vectors_are_read_live() -> None:
    log = random_log()
    vectors = torch.nn.Parameter(torch.zeros(log.n_items, K))
    sessions = LoggedSessions(log, vectors, sessions=4)
    sessions.reset()
    sessions.step(torch.zeros(4, K))
    with torch.no_grad():
        vectors[19, 0] = 1  # the film that nobody rated
    action = torch.zeros(4, K)
    action[:, 0] = 1
    assert sessions.step(action)[4]["item"].tolist() == [19] * 4


def test_nothing_is_recommended_twice_nor_from_before_the_start() -> None:
    log = random_log(40, 30)
    sessions = sessions_of(log, sessions=64, horizon=12)
    generator = torch.Generator().manual_seed(0)
    rows = sessions._random_rows(users := sessions._random_people(64))
    sessions.reset(options={"users": users, "rows": rows})
    shown: list[list[int]] = [
        log.item[log.offsets[user] : row].tolist() for user, row in zip(users, rows, strict=True)
    ]
    while not sessions.over:
        info = sessions.step(torch.randn(64, K, generator=generator))[4]
        for row in torch.nonzero(info["active"]).squeeze(1).tolist():
            film = int(info["item"][row])
            assert film not in shown[row]
            shown[row].append(film)


# ----------------------------------------------------------------------------------- the memory


@pytest.mark.parametrize("least", [4.0, 0.5, 3.0])
def test_the_memory_shifts_only_on_ratings_it_reads(least: float) -> None:
    log = log_of([(0, film, film / 2) for film in range(1, 11)], 1, 13)
    sessions = sessions_of(log, reads_from=least, horizon=99)
    begin(sessions, [0], 0)
    memory = [13, 13, 13]
    for film in (12, 8, 2, 10, 11, 7, 6, 9, 1):
        observation = sessions.execute(torch.tensor([film]))[0]
        if 1 <= film <= 10 and film / 2 >= least:
            memory = [*memory[1:], film]
        assert observation.memory.tolist() == [memory]


def test_an_observation_handed_out_does_not_change_later() -> None:
    """The replay buffer keeps the one from before the step."""
    log = two_tastes(4, 8)
    sessions = sessions_of(log)
    sessions.reset()
    before = sessions.observation()
    copy = before.memory.clone()
    for film in range(4):
        sessions.execute(torch.full((8,), film))
    assert torch.equal(before.memory, copy)
    assert not torch.equal(sessions.observation().memory, copy)


@pytest.mark.parametrize("least", [4.0, 0.5])
@pytest.mark.parametrize("n", [1, 3, 30])
def test_memory_at_against_a_loop(n: int, least: float) -> None:
    log = random_log()
    sessions = sessions_of(log, n=n, reads_from=least)
    rows = torch.arange(len(log))
    wanted = [memory_by_loop(log, int(user), row, n, least) for row, user in enumerate(log.user)]
    assert sessions.memory_at(log.user, rows).tolist() == wanted


def test_a_log_without_positives_starts_with_empty_memories() -> None:
    log = log_of([(0, 1, 3.0), (0, 2, 1.0), (1, 0, 2.0), (1, 2, 2.0)], 2, 3)
    observation, _ = sessions_of(log).reset()
    assert (observation.memory == 3).all()


# --------------------------------------------------------------------------------- how it ends


def test_a_time_limit_truncates_and_does_not_terminate() -> None:
    log = two_tastes(4, 20)
    sessions = sessions_of(log, horizon=3)
    sessions.reset(options=dict(users=(u := torch.arange(4)), rows=log.offsets[u] + 1))
    for step in range(1, 4):
        _, _, terminated, truncated, info = sessions.execute(sessions_unseen(sessions))
        assert not terminated.any()
        assert (truncated == (step == 3)).all()
        assert info["active"].all()
        assert sessions.over == (step == 3)


def sessions_unseen(sessions: LoggedSessions) -> torch.Tensor:
    """Any film each session has not seen."""
    return (~sessions._seen).float().argmax(1)


def test_a_session_terminates_when_the_log_is_used_up() -> None:
    """One of two rated films is left for user 0, both for user 1, who also meets unrated ones."""
    log = log_of([(0, 0, 5.0), (0, 1, 1.0), (1, 2, 5.0), (1, 3, 4.0)], 2, 9)
    sessions = sessions_of(log, horizon=99)
    begin(sessions, [0, 1], [1, 0])
    steps = [([1, 7], [True, False], [True, True]), ([7, 3], [True, False], [False, True])]
    steps.append(([8, 2], [True, True], [False, True]))
    for films, wanted, active in steps:
        _, _, terminated, truncated, info = sessions.execute(torch.tensor(films))
        assert terminated.tolist() == wanted
        assert not truncated.any()
        assert info["active"].tolist() == active
    assert sessions.over


def test_over_before_the_first_reset_and_not_after() -> None:
    sessions = sessions_of(random_log())
    assert sessions.over
    _, info = sessions.reset()
    assert not sessions.over
    assert info["active"].all()


def test_nobody_to_play_with_is_an_error() -> None:
    with pytest.raises(ValueError, match="nobody in the log has two ratings"):
        sessions_of(log_of([(0, 1, 5.0), (1, 1, 5.0)], 2, 3))


# ------------------------------------------------------------------------------ who and when


def test_reset_with_a_seed_repeats_and_another_seed_differs() -> None:
    sessions = sessions_of(random_log(), sessions=64)

    def opening(seed: int) -> list:
        observation, _ = sessions.reset(seed=seed)
        return [observation.user.tolist(), observation.memory.tolist()]

    first = opening(3)
    sessions.reset()
    assert opening(3) == first
    assert opening(4) != first


def test_sessions_without_a_seed_move_on_and_leave_the_global_generators_alone() -> None:
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    sessions = sessions_of(random_log(), sessions=64)
    first, second = sessions.reset()[0], sessions.reset()[0]
    sessions.demonstrations(8)
    assert not torch.equal(first.memory, second.memory)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (1.0, 1, 1), (0.3, 0.25, 0.35)])
def test_anonymous_share(share: float, low: float, high: float) -> None:
    log = random_log()
    sessions = sessions_of(log, sessions=2000, anonymous_share=share)
    observation, _ = sessions.reset()
    moments, _ = sessions.demonstrations(2000)
    for user in (observation.user, moments.user):
        assert low <= float((user == log.n_users).float().mean()) <= high
    after = sessions.step(torch.randn(2000, K))[0]
    assert torch.equal(after.user, observation.user), "within a session nobody changes"


def test_people_and_moments_are_drawn_evenly() -> None:
    """Everybody with two rows, every row but the first; nobody else."""
    log = log_of([(0, f, 5.0) for f in range(5)] + [(1, 0, 5.0), (2, 3, 4.0), (2, 4, 4.0)], 4, 6)
    sessions = sessions_of(log, anonymous_share=0.0)
    users = sessions._random_people(4000)
    rows = sessions._random_rows(users)
    assert torch.equal(log.user[rows], users)
    counts = torch.bincount(rows, minlength=len(log))
    assert counts[[0, 5, 6]].tolist() == [0, 0, 0]
    np.testing.assert_allclose(counts[1:5] / 4000, 1 / 8, atol=0.02)
    assert float(counts[7]) / 4000 == pytest.approx(0.5, abs=0.03)


# -------------------------------------------------------------------------- demonstrations


@pytest.mark.parametrize("least", [4.0, 0.5])
def test_demonstrations_are_moments_of_the_log(least: float) -> None:
    """The memory holds what is read before the row, the film is the row's own."""
    log = random_log()
    sessions = sessions_of(log, anonymous_share=0.0, reads_from=least)
    observation, film = sessions.demonstrations(500)
    assert observation.memory.shape == (500, 3)
    row_of = {
        (int(user), int(item)): row
        for row, (user, item) in enumerate(zip(log.user, log.item, strict=True))
    }
    for user, memory, item in zip(*(t.tolist() for t in (*observation[:2], film)), strict=True):
        row = row_of[user, item]
        assert row > int(log.offsets[user]), "a person's first row has nothing before it"
        assert memory == memory_by_loop(log, user, row, 3, least)
        assert item not in memory


@pytest.mark.parametrize("least", [4.0, 0.5])
@pytest.mark.parametrize("n", [1, 3, 6])
def test_likes_are_films_one_person_likes_and_another(n: int, least: float) -> None:
    """Nobody's dislikes, no film twice, never the film that is asked for, LEFT-padded."""
    log = random_log()
    sessions = sessions_of(log, n=n, anonymous_share=0.0, reads_from=least)
    observation, film = sessions.likes(800)
    assert observation.memory.shape == (800, n)
    assert observation.memory.dtype == torch.int64
    likes = [
        {int(i) for u, i, r in zip(log.user, log.item, log.rating, strict=True)
         if u == user and r >= least}
        for user in range(log.n_users)
    ]  # fmt: skip
    known = observation.memory < log.n_items
    assert not (known[:, :-1] & ~known[:, 1:]).any(), "padding must be on the left"
    for user, memory, item in zip(*(t.tolist() for t in (*observation[:2], film)), strict=True):
        shown = [i for i in memory if i < log.n_items]
        assert len(set(shown)) == len(shown)
        assert item not in shown
        assert {item, *shown} <= likes[user]


def test_likes_are_drawn_evenly_and_in_no_order() -> None:
    log = log_of([(0, film, 5.0) for film in range(10)] + [(1, 0, 5.0), (1, 1, 1.0)], 2, 11)
    sessions = sessions_of(log, n=2, anonymous_share=0.0)
    observation, film = sessions.likes(20_000)
    assert (observation.user == 0).all(), "user 1 has one film to remember and none to ask for"
    np.testing.assert_allclose(torch.bincount(film, minlength=10) / 20_000, 0.1, atol=0.01)
    both = observation.memory[(observation.memory < 11).all(1)]
    np.testing.assert_allclose(torch.bincount(both[:, 0], minlength=10) / len(both), 0.1, atol=0.02)
    assert float((both[:, 0] < both[:, 1]).float().mean()) == pytest.approx(0.5, abs=0.02)
    length = (observation.memory < 11).sum(1)
    assert 0.4 < float((length == 1).float().mean()) < 0.65


def test_nothing_to_imitate_is_an_error() -> None:
    with pytest.raises(ValueError, match="nobody in the log liked two films"):
        sessions_of(log_of([(0, 1, 5.0), (0, 2, 1.0)], 1, 3)).likes(1)


def test_moments_are_an_endless_stream_of_the_kind_asked_for() -> None:
    for what, draw in (("next", LoggedSessions.demonstrations), ("likes", LoggedSessions.likes)):
        moments, same = Moments(sessions_of(random_log()), what, 5), sessions_of(random_log())
        assert iter(moments) is moments
        for _ in range(3):
            (observation, film), (wanted, wanted_film) = next(moments), draw(same, 5)
            assert film.shape == (5,)
            assert torch.equal(film, wanted_film)
            assert torch.equal(observation.memory, wanted.memory)
            assert torch.equal(observation.user, wanted.user)


def test_fault_8_nothing_of_validation_or_test_can_be_reached() -> None:
    """From the train part, no film held out answers, is remembered or demonstrated: whoever
    recommends it is told what he is told about any film that was never rated."""
    log = random_log(20, 24, seed=3)
    split = leave_one_out(log)
    held = {
        (int(user), int(item))
        for part in (split.validation, split.test)
        for user, item in zip(part.user, part.item, strict=True)
    }
    settings = {"reads_from": 0.5, "unrated": -0.125, "anonymous_share": 0.0}
    sessions = sessions_of(split.train, **settings)
    for draw in (sessions.demonstrations, sessions.likes):
        observation, film = draw(3000)
        for user, memory, item in zip(*(t.tolist() for t in (*observation[:2], film)), strict=True):
            assert not held & {(user, i) for i in (*memory, item)}
    played = [
        (user, item) for user, item in sorted(held) if int(split.train.offsets.diff()[user]) > 1
    ]
    assert len(played) > 20
    users, films = (torch.tensor(column) for column in zip(*played, strict=True))
    begin(sessions, users.tolist(), 1)
    observation, reward, _, _, info = sessions.execute(films)
    assert (reward == -0.125).all()
    assert (info["rating"] == 0).all()
    assert not (observation.memory == films.unsqueeze(1)).any()


# ------------------------------------------------------------------------------------ resuming


@pytest.mark.parametrize("steps", [0, 2, 6])
def test_a_loaded_environment_goes_on_as_the_saved_one(steps: int, tmp_path) -> None:
    """Before any session, in the middle of some, and after their end."""
    log = random_log()
    whole, resumed = sessions_of(log), sessions_of(log, generator=torch.Generator())
    generator = torch.Generator().manual_seed(0)
    if steps:
        whole.reset()
    for _ in range(steps):
        whole.step(torch.randn(8, K, generator=generator))
    torch.save(whole.state_dict(), tmp_path / "sessions.pt")
    resumed.load_state_dict(torch.load(tmp_path / "sessions.pt", weights_only=True))
    assert resumed.over == whole.over
    for _ in range(12):
        if whole.over:
            whole.reset()
            resumed.reset()
        action = torch.randn(8, K, generator=generator)
        for ours, theirs in zip(flat(resumed.step(action)), flat(whole.step(action)), strict=True):
            assert torch.equal(ours, theirs)
    assert torch.equal(resumed.demonstrations(9)[1], whole.demonstrations(9)[1])


def flat(step: tuple) -> list[torch.Tensor]:
    observation, *rest, info = step
    return [*observation[:2], *rest, *info.values()]


def test_a_loaded_environment_shares_no_memory_with_the_saved_one() -> None:
    log = random_log()
    whole, other = sessions_of(log), sessions_of(log)
    whole.reset()
    other.load_state_dict(whole.state_dict())
    seen = whole._seen.clone()
    other.step(torch.ones(8, K))
    assert torch.equal(whole._seen, seen)
