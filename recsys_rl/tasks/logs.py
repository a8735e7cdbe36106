"""Splits of a log: what is tested lies in the rows of the users whom an agent trains on."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.data.devices import CPU
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.notes import note
from recsys_rl.data.splits import after_a_pause, leave_one_out, random_split, split_by_time
from recsys_rl.evaluation.protocols import (
    READS,
    leave_one_out_metrics,
    random_positive_metrics,
    random_positive_split,
    ranking_task,
    sample_negatives,
    temporal_metrics,
)
from recsys_rl.evaluation.reranking import offline_reranking
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.tasks.base import MEAN, SAMPLE, Evaluate, Task, permuted, refuse_few, seeded

NEGATIVES = 99  # items that a test item is ranked among, beside the full ranking
WITH_CLOCK = {reads: ending for reads, ending in READS.items() if reads != "order"}


def _negatives(known: Interactions, target: Interactions, seed: int) -> Tensor:
    """99 items that each target's user does not know; -1, and a note, where there are fewer."""
    drawn = sample_negatives(
        known, target.user, NEGATIVES, generator=seeded(seed), allow_fewer=True
    )
    users = target.user[drawn[:, 0] < 0].unique()
    if len(users):
        note(
            f"{len(users):,} of {len(target.user.unique()):,} users have not left {NEGATIVES} of "
            f"{known.n_items:,} films unrated: metrics among {NEGATIVES} leave them out"
        )
    return drawn


def leave_one_out_task(data: Interactions) -> Task:
    split = leave_one_out(data)
    refuse_few(len(split.test) > 0, "nobody has rated three items")
    few = torch.zeros(len(split.validation), dtype=torch.bool, device=CPU)
    few[permuted(len(few), 1)[:SAMPLE]] = True
    sample = split.validation.select(few.to(data.user.device))
    few_negatives = sample_negatives(
        data, sample.user, NEGATIVES, generator=seeded(2), allow_fewer=True
    )
    history, target = ranking_task(split, "test")
    negatives = _negatives(data, target, 3)

    def validate(score: ScoreFunction) -> dict[str, float]:
        return leave_one_out_metrics(score, split.train, sample, few_negatives).mean()

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        return {"leave-one-out": leave_one_out_metrics(score, history, target, negatives)}

    def validate_clock(score: ScoreFunction) -> dict[str, float]:
        found = validate(score) | {
            f"{metric}{ending}": value
            for reads, ending in WITH_CLOCK.items()
            for metric, value in leave_one_out_metrics(score, split.train, sample, reads=reads)
            .mean()
            .items()
        }
        values = [found[f"ndcg@10{ending}"] for ending in READS.values()]
        return found | {f"{MEAN}ndcg@10": sum(values) / len(values)}

    about = "leave one out: each user's latest item among all unseen items, and among 99"
    return Task(
        split.train,
        validate,
        "ndcg@10",
        test,
        about,
        validate_clock=validate_clock,
        test_clock=_with_clock("leave-one-out", history, target),
    )


def _with_clock(name: str, history: Interactions, target: Interactions) -> Evaluate:
    """The protocol for models that are told times, each way under a name of its own."""
    return lambda score: {
        f"{name}{ending}": leave_one_out_metrics(score, history, target, reads=reads)
        for reads, ending in WITH_CLOCK.items()
    }


def after_a_pause_task(data: Interactions) -> Task:
    split = after_a_pause(data)
    history, target = split.train, split.test
    refuse_few(len(target) > 0, "nobody has paused for a day")

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        return {"after-a-pause": leave_one_out_metrics(score, history, target)}

    about = "the first item after each user's last pause of a day or more, among all unseen items"
    return Task(
        history, None, "", test, about, test_clock=_with_clock("after-a-pause", history, target)
    )


def random_positives_task(data: Interactions) -> Task:
    split = random_positive_split(data)
    refuse_few(len(split.train) > 0 and len(split.test) > 0, "there are few ratings above 3")
    negatives = _negatives(split.train.concat(split.test), split.test, 3)
    refuse_few(bool((negatives >= 0).any()), "it ranks among 99 negatives, and nobody has so many")

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        found = random_positive_metrics(score, split.train, split.test, negatives)
        return {"random-positives": found}

    about = "ratings above 3, split 80/20 at random; each held-out one among 99 other items"
    return Task(split.train, None, "", test, about)


def ratings_task(data: Interactions) -> Task:
    split = random_split(data)
    refuse_few(len(split.test) > 0, "there are few ratings")

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        return {"re-ranking": offline_reranking(score, split.train, split.test).model}

    about = (
        "ratings, split 80/20 at random; the items that a user rated in the test part, re-ranked"
    )
    return Task(split.train, None, "", test, about)


def temporal_task(data: Interactions) -> Task:
    split = split_by_time(data)
    history, target = split.train.concat(split.validation), split.test
    for before, after in ((split.train, split.validation), (history, target)):
        both = (before.offsets.diff() > 0) & (after.offsets.diff() > 0)
        refuse_few(bool(both.any()), "nobody has ratings on both sides of a cut in time")

    def validate(score: ScoreFunction) -> dict[str, float]:
        return temporal_metrics(score, split.train, split.validation).mean()

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        return {"temporal": temporal_metrics(score, history, target)}

    about = "one cut in time for everybody: the oldest 80 % train, the latest 10 % test"
    return Task(split.train, validate, "ndcg@10", test, about)
