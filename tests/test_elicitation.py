"""Ask first, recommend afterwards: the environment, its two forms, askers, their evaluation."""

from copy import deepcopy

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from test_gym import run_elsewhere

from recsys_rl.agent.asking import Asker
from recsys_rl.agent.asking_training import Budget, fit_asker, improve_actor, play
from recsys_rl.baselines.asking import (
    Belief,
    EntropyQuestions,
    KnowledgeGradient,
    VarianceQuestions,
    knowledge_gradient,
)
from recsys_rl.baselines.asking_tree import LIKED, NOT_SEEN, QuestionTree
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.data.histories import POSITIVE, SHOWN, Histories, exclusion_mask
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.like_posterior import LikeGaussian
from recsys_rl.envs.elicitation import LIST, NOT_LIKED, ElicitationEnv, asked_half
from recsys_rl.envs.gym_elicitation import ID, GymElicitationEnv, score_function
from recsys_rl.evaluation.calibration import calibration
from recsys_rl.evaluation.elicitation import all_answers_known, asks_nothing, elicitation
from recsys_rl.next_question import next_question

USERS, ITEMS, QUESTIONS = 60, 40, 4


@pytest.fixture(scope="module")
def data() -> Interactions:
    return rated(ITEMS)


def rated(items: int) -> Interactions:
    """Two tastes: everybody likes one half of the films, by number, and has rated most of them."""
    draw = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        for item in draw.choice(items, int(0.7 * items), replace=False):
            likes = (item % 2 == user % 2) if draw.random() < 0.9 else draw.random() < 0.5
            rows.append((user, item, 5.0 if likes else 2.0, len(rows)))
    table = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])
    return Interactions.from_ratings(table)


@pytest.fixture(scope="module")
def gaussian(data) -> LikeGaussian:
    return LikeGaussian.fit(data, k=6)


def made(data, gaussian, **options) -> ElicitationEnv:
    options = {"half": 0, "horizon": QUESTIONS, "sessions": 8} | options
    return ElicitationEnv(data, gaussian.score, **options)


def played(env: ElicitationEnv, ask) -> tuple:
    histories = env.observation()
    while not env.over:
        scores = ask(histories).masked_fill(env.excluded, -torch.inf)
        histories, *rest = env.step(scores.argmax(1))
    return histories, *rest


# ---------------------------------------------------------------------------------- the environment


@pytest.mark.parametrize("n_seed", [0, 3])
def test_only_the_last_question_earns_and_the_list_is_what_counts(data, gaussian, n_seed):
    env = made(data, gaussian, n_seed=n_seed)
    histories, info = env.reset(seed=1)
    assert info["active"].all()
    assert histories.item.shape == (8, n_seed)
    for step in range(QUESTIONS):
        assert torch.allclose(histories.elapsed, torch.full((8,), step / QUESTIONS))
        item = gaussian.score(histories).masked_fill(env.excluded, -torch.inf).argmax(1)
        histories, reward, terminated, truncated, info = env.step(item)
        assert terminated.all() == (step == QUESTIONS - 1)
        assert not truncated.any()
        assert ("top" in info) == bool(terminated.all())
        assert terminated.all() or not reward.any()
    assert env.over
    assert torch.allclose(reward, info["hits"].float().mean(1))
    assert info["top"].shape == (8, LIST)


def test_answers_are_liked_not_liked_or_not_seen(data, gaussian):
    env = made(data, gaussian)
    users = torch.arange(8)
    env.reset(options={"users": users})
    rated = torch.zeros(USERS, ITEMS)
    rated[data.user, data.item] = data.rating
    histories, *_ = played(env, gaussian.score)
    stars = rated[users].gather(1, histories.item)
    expected = torch.where(stars >= POSITIVE, POSITIVE, torch.where(stars > 0, NOT_LIKED, SHOWN))
    assert torch.equal(histories.rating, expected)
    assert (histories.user == USERS).all()  # nobody is told who they are


@pytest.mark.parametrize("n_seed", [0, 3])
def test_no_answer_of_the_judged_half_is_ever_known(data, gaussian, n_seed):
    asked = asked_half(ITEMS, 0)
    env = made(data, gaussian, n_seed=n_seed)
    start, _ = env.reset(seed=0)
    assert asked[start.item].all()
    assert torch.equal(~exclusion_mask(start, ITEMS), ~env.excluded)
    assert env.excluded[:, ~asked].all()
    # who asks about the other half all the same has asked nothing
    forbidden = (~asked).nonzero().squeeze(1)
    for item in forbidden[:QUESTIONS]:
        histories, *_, info = env.step(item.expand(8))
        assert (info["item"] == ITEMS).all()
        assert not info["rating"].any()
    assert (histories.item[:, : -n_seed or None] == ITEMS).all()
    assert not asked[info["top"]].any()


def test_what_the_judged_half_holds_changes_no_question(data, gaussian):
    """Other likes in the judged half: the same questions and the same list."""
    asked = asked_half(ITEMS, 0)
    other = torch.where(asked[data.item], data.rating, 7 - data.rating)
    changed = Interactions(
        data.user, data.item, other, data.timestamp, data.user_ids, data.item_ids
    )
    found = []
    for users in (data, changed):
        env = made(users, gaussian)
        env.reset(options={"users": torch.arange(8)})
        histories, reward, *_, info = played(env, KnowledgeGradient(gaussian))
        found.append((histories.item, histories.rating, info["top"], reward))
    for mine, theirs in zip(found[0][:3], found[1][:3], strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(found[0][3], found[1][3])


def test_sessions_go_on_where_they_stood(data, gaussian):
    env = made(data, gaussian, half=None)
    env.reset(seed=3)
    env.step(env.excluded.int().argmin(1))
    other = made(data, gaussian, half=None)
    other.load_state_dict(env.state_dict())
    ends = [played(each, gaussian.score) for each in (env, other)]
    assert torch.equal(ends[0][0].item, ends[1][0].item)
    assert torch.equal(ends[0][1], ends[1][1])


def test_halves_differ_by_number_and_are_halves():
    halves = torch.stack([asked_half(ITEMS, number) for number in range(4)])
    assert (halves.sum(1) == ITEMS // 2).all()
    assert len(halves.unique(dim=0)) == 4
    assert torch.equal(asked_half(ITEMS, 2), halves[2])


def test_what_cannot_be_is_refused(data, gaussian):
    with pytest.raises(ValueError, match="40 items are too few for 23 to name or ask about"):
        made(data, gaussian, horizon=20, n_seed=3)
    with pytest.raises(ValueError, match="horizon is a whole number of at least 1, not 0"):
        made(data, gaussian, horizon=0)
    with pytest.raises(ValueError, match="half is the number of a half, 0 or more"):
        made(data, gaussian, half=-1)
    with pytest.raises(ValueError, match="n_seed is a whole number of at least 1, not None"):
        made(data, gaussian, n_seed=None)
    env = made(data, gaussian, n_seed=1)
    with pytest.raises(ResetNeeded):
        env.step(torch.zeros(8, dtype=torch.int64))
    judged = (~asked_half(ITEMS, 0)).nonzero()[:1]
    with pytest.raises(ValueError, match="a seed item is one of the asked half"):
        env.reset(options={"users": torch.tensor([0]), "seed_items": judged})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="items are within 0 .. 40"):
        env.step(torch.full((8,), 41))
    with pytest.raises(ValueError, match="need one half"):
        made(data, gaussian, half=None).starts(1, 0)


# --------------------------------------------------------------------------------- Gymnasium's form


def gym_made(data, gaussian, **options) -> gymnasium.Env:
    return gymnasium.make(ID, users=data, gaussian=gaussian, horizon=QUESTIONS, **options)


@pytest.mark.parametrize("n_seed", [0, 3])
@pytest.mark.filterwarnings("ignore:.*Box observation space .*infinity")
def test_the_checkers_have_nothing_to_say(data, gaussian, n_seed):
    env = gym_made(data, gaussian, n_seed=n_seed).unwrapped
    check_env(env, skip_render_check=True)
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(env)


def test_a_seed_repeats_a_session_and_the_mask_says_what_can_be_asked(data, gaussian):
    sessions = []
    for _ in range(2):
        env = gym_made(data, gaussian)
        steps = [env.reset(seed=4)]
        for _ in range(QUESTIONS):
            mask = steps[-1][-1]["mask"]
            steps.append(env.step(int(mask.argmax())))
            assert steps[-1][-1]["item"] is not None
            assert not steps[-1][-1]["mask"][mask.argmax()]
        sessions.append(steps)
    assert data_equivalence(*sessions)
    assert [step[2] for step in sessions[0][1:]] == [False] * (QUESTIONS - 1) + [True]
    assert sum(step[1] for step in sessions[0][1:]) == sessions[0][-1][1]
    env.reset(seed=0)
    barred = int((~env.unwrapped._mask()).argmax())
    *_, info = env.step(barred)
    assert info["answer"] == "not seen"
    assert "item" not in info  # a vector of environments says so by a mask


def test_in_a_vector_one_asks_and_another_does_not(data, gaussian):
    both = gymnasium.vector.SyncVectorEnv([lambda: gym_made(data, gaussian)] * 2)
    _, info = both.reset(seed=0)
    asked, barred = int(info["mask"][0].argmax()), int((~info["mask"][1]).argmax())
    *_, info = both.step(np.array([asked, barred]))
    assert info["_item"].tolist() == [True, False]


def test_a_user_can_be_named_and_actions_are_items(data, gaussian):
    env = gym_made(data, gaussian)
    assert env.reset(options={"user": 7})[1]["user"] == 7
    with pytest.raises(ValueError, match="user 99 is not here"):
        env.reset(options={"user": 99})
    with pytest.raises(ValueError, match=r"an action is an item, 0 .. 39, not 1\.5"):
        env.unwrapped.step(1.5)
    with pytest.raises(ValueError, match="come together"):
        GymElicitationEnv(users=data)
    with pytest.raises(FileNotFoundError, match="an environment downloads nothing"):
        GymElicitationEnv(root="nowhere")


def test_the_import_registers_it(tmp_path):
    run_elsewhere(f"import gymnasium, recsys_rl; assert {ID!r} in gymnasium.registry", tmp_path)


def test_what_was_trained_there_is_judged_like_others(data, gaussian):
    score = score_function(lambda seen, mask: mask.argmax(1), gaussian)
    found = elicitation(lambda _: score, data, gaussian.score, questions=2, halves=2)
    assert set(found.metrics) == {"precision@10", "ndcg@10", "liked", "seen"}


# ------------------------------------------------------------------------------------------- askers


def test_the_posterior_is_that_of_the_gaussian_of_likes(data, gaussian):
    reference = GaussianLikes.fit(data, 6, torch.Generator().manual_seed(0))
    env = made(data, gaussian, n_seed=2)
    env.reset(seed=0)
    histories, *_ = played(env, gaussian.score)
    assert torch.allclose(gaussian.score(histories), reference.score(histories), atol=1e-5)


def brute_force(gaussian: LikeGaussian, histories: Histories, item: int) -> float:
    """One user: both answers are given, and the posterior is made anew."""
    before = gaussian.score(histories)[0]
    chance = float(before[item].clamp(0.02, 0.98))
    judged, total = histories.shown[0], 0.0
    for liked, weight in ((True, chance), (False, 1 - chance)):
        told = Histories(
            histories.user,
            torch.cat([histories.item, torch.tensor([[item]])], 1),
            torch.cat([histories.rating, torch.tensor([[POSITIVE if liked else SHOWN]])], 1),
        )
        total += weight * float(gaussian.score(told)[0, judged].topk(LIST).values.sum())
    return total - float(before[judged].topk(LIST).values.sum())


@pytest.mark.parametrize("n_seed", [0, 3])
def test_the_knowledge_gradient_is_what_brute_force_finds(data, gaussian, n_seed):
    env = made(data, gaussian, n_seed=n_seed, sessions=1)
    histories, _ = env.reset(seed=2)
    for _ in range(QUESTIONS):
        belief = Belief(gaussian, histories)
        candidates = belief.candidates(ITEMS)
        found = knowledge_gradient(belief, candidates, belief.judged)[0]
        expected = [brute_force(gaussian, histories, int(item)) for item in candidates[0]]
        assert torch.allclose(found, torch.tensor(expected), atol=1e-4)
        scores = KnowledgeGradient(gaussian, ITEMS, None)(histories)
        assert max(expected) - expected[int(candidates[0].eq(scores.argmax()).nonzero())] < 1e-4
        histories, *_ = env.step(scores.argmax(1))


@pytest.mark.parametrize("n_seed", [0, 3])
def test_the_form_without_pytorch_asks_the_same(data, gaussian, n_seed):
    env = made(data, gaussian, n_seed=n_seed, sessions=1)
    histories, _ = env.reset(seed=5)
    asked = asked_half(ITEMS, 0).numpy()
    vectors, noise = gaussian.item_vectors.numpy(), gaussian.noise.numpy()
    for _ in range(QUESTIONS):
        liked = histories.rating[0] >= POSITIVE
        item = histories.item[0]
        found = next_question(
            vectors,
            noise,
            item[liked].tolist(),
            item[~liked].tolist(),
            askable=asked,
            recommendable=~asked,
        )
        scores = KnowledgeGradient(gaussian)(histories)[0]
        assert scores[found] > scores.max() - 1e-4  # there may be ties
        histories, *_ = env.step(torch.tensor([found]))


def test_the_form_without_pytorch_never_asks_twice_and_imports_little(gaussian, tmp_path):
    vectors, noise = gaussian.item_vectors.numpy(), gaussian.noise.numpy()
    answered = []
    for _ in range(ITEMS - 1):
        answered.append(next_question(vectors, noise, answered[::2], answered[1::2]))
    assert len(set(answered)) == ITEMS - 1
    with pytest.raises(ValueError, match="nothing is left to ask about"):
        next_question(vectors, noise, range(ITEMS))
    run_elsewhere(
        "import sys, recsys_rl.next_question; "
        "assert not {'torch', 'pandas'} & set(sys.modules), sorted(sys.modules)",
        tmp_path,
    )


def test_variance_and_entropy_are_what_they_say(data, gaussian):
    env = made(data, gaussian, n_seed=3)
    histories, _ = env.reset(seed=0)
    belief = Belief(gaussian, histories)
    every = torch.arange(ITEMS).expand(8, -1)
    variance = belief.covariance(every, every).diagonal(dim1=1, dim2=2)
    assert torch.allclose(VarianceQuestions(gaussian)(histories), variance, atol=1e-5)
    assert torch.allclose(belief.variance(every), variance, atol=1e-5)
    least_sure = EntropyQuestions(gaussian)(histories).argmax(1)
    apart = (belief.expected - 0.5).abs()
    assert torch.allclose(apart.gather(1, least_sure[:, None])[:, 0], apart.amin(1), atol=1e-4)


def test_the_tree_asks_what_tells_most_and_goes_on_by_the_answer(data):
    asked = asked_half(ITEMS, 0)
    tree = QuestionTree.fit(data, asked, depth=3)
    assert asked[tree.item].all()
    likes = torch.zeros(USERS, ITEMS)
    likes[data.user, data.item] = (data.rating >= POSITIVE).float()
    rated = data.mask_of(torch.arange(USERS))

    def errors(item: int) -> float:
        answers = torch.where(likes[:, item] > 0, 0, torch.where(rated[:, item], 1, 2))
        groups = [likes[answers == kind][:, ~asked] for kind in range(3)]
        return sum(float((g - g.mean(0)).square().sum()) for g in groups if len(g))

    best = min(asked.nonzero().squeeze(1).tolist(), key=errors)
    assert tree.item[0] == best
    judged = (~asked).nonzero().squeeze(1)
    small = QuestionTree(
        torch.tensor([1, 2, 3]),
        torch.tensor([[1, -1, 2], [-1, -1, -1], [-1, -1, -1]]),
        torch.tensor([[1, 5], [2, 5], [3, 5]]),
        ITEMS,
    )
    for rating, answer in ((POSITIVE, LIKED), (SHOWN, NOT_SEEN), (NOT_LIKED, 1)):
        item, stars = torch.tensor([[ITEMS, 1]]), torch.tensor([[0.0, rating]])
        histories = Histories(torch.tensor([USERS]), item, stars, None, judged[None])
        scores = small(histories).masked_fill(exclusion_mask(histories, ITEMS), -torch.inf)
        assert int(scores.argmax()) == {LIKED: 2, NOT_SEEN: 3, 1: 5}[answer]


def test_better_questions_make_better_lists(data, gaussian):
    users = {"users": data, "rank": gaussian.score, "questions": 2, "halves": 2}
    nothing, gradient = (
        elicitation(lambda _, ask=ask: ask, **users).mean()["precision@10"]
        for ask in (asks_nothing(ITEMS), KnowledgeGradient(gaussian))
    )
    known = all_answers_known(gaussian, data, halves=2).mean()
    assert nothing < gradient < known["precision@10"] + 0.02
    assert known["ndcg@10"] <= 1


def test_all_answers_known_is_the_posterior_of_all_answers(data, gaussian):
    env = made(data, gaussian, horizon=ITEMS // 2)
    env.reset(options={"users": env.eligible})
    *_, info = played(env, gaussian.score)
    found = all_answers_known(gaussian, data, halves=1)
    assert np.allclose(found.metrics["precision@10"], info["hits"].float().mean(1), atol=0.101)
    assert found.mean()["precision@10"] == pytest.approx(float(info["hits"].float().mean()), 0.02)


# ---------------------------------------------------------------------------------- the learned one


def test_an_asker_starts_at_the_knowledge_gradient_and_learns():
    data = rated(80)
    gaussian = LikeGaussian.fit(data, k=6)
    asker = Asker(gaussian, torch.Generator().manual_seed(0))
    env = made(data, gaussian)
    histories, _ = env.reset(seed=0)
    mine, theirs = (
        ask(histories).masked_fill(env.excluded, -torch.inf).argmax(1)
        for ask in (asker.score, KnowledgeGradient(gaussian))
    )
    assert torch.equal(mine, theirs)
    before = {name: value.clone() for name, value in asker.state_dict().items()}
    budget = Budget(rounds=3, users=4, siblings=2)
    rows = fit_asker(asker, data, budget=budget, lengths=(2, 3))
    assert len(rows) == 3
    assert all(not torch.equal(before[name], value) for name, value in asker.state_dict().items())
    with pytest.raises(ValueError, match="80 items are too few to learn 11 questions"):
        fit_asker(asker, data, lengths=(2, 11))


def test_without_a_look_ahead_only_the_last_question_learns():
    """The gradient of the log-probabilities of the others is 0."""
    data = rated(80)
    gaussian = LikeGaussian.fit(data, k=6)
    asker = Asker(gaussian, torch.Generator().manual_seed(0), QUESTIONS)
    env, generator = made(data, gaussian), torch.Generator().manual_seed(0)
    played = play(asker, env, 2, generator)
    played = played._replace(returns=torch.rand(len(played.returns), generator=generator))
    moved = []
    for features in (
        played.features,
        played.features.clone().index_fill_(1, torch.arange(QUESTIONS - 1), 0),
    ):
        copy = deepcopy(asker)
        optimizer = torch.optim.SGD(copy.actor.parameters(), 1.0)
        improve_actor(copy, optimizer, played._replace(features=features), 2, gamma=0.0)
        moved.append(torch.cat([p.detach().flatten() for p in copy.actor.parameters()]))
    assert torch.equal(*moved)


def test_its_critic_can_be_calibrated(data, gaussian):
    asker = Asker(gaussian, torch.Generator().manual_seed(0), QUESTIONS)
    found = calibration(asker.score, asker.q, made(data, gaussian), gamma=1.0, draws=1)
    q, returns = found.means()
    assert q.shape == returns.shape == (QUESTIONS,)
    assert torch.allclose(returns, returns[:1].expand(QUESTIONS))


@pytest.mark.parametrize("half", ["a", 1.5, True, [1]])
def test_a_half_has_a_number(data, gaussian, half):
    with pytest.raises(ValueError, match="half is the number of a half"):
        gym_made(data, gaussian, half=half)


def test_users_and_the_gaussian_are_of_their_types(data, gaussian):
    with pytest.raises(ValueError, match="users: Interactions is needed"):
        gym_made([0], gaussian)
    with pytest.raises(ValueError, match="gaussian: LikeGaussian is needed"):
        gym_made(data, 3)
