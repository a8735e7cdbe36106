"""That a peer is judged as we are: two ways to the same figures, on one data set.

    python -m benchmarks.peers.check --dataset ml-100k

In the peer's environment. Popularity: by RecTools' model, its exclusion of seen items and its
Recall@10, and by ours; they may differ where equal counts meet at the tenth place, so that ours
says between which figures. SASRec after a few batches: the ten best by `recommend` and by our score
function.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

import pandas as pd
import pytorch_lightning as lightning
import torch
from rectools import Columns
from rectools.metrics import Recall
from rectools.models import PopularModel, SASRecModel

from benchmarks.peers.rectools_sasrec import SETTINGS, dataset_of, score_of
from recsys_rl.baselines.popularity import Popularity
from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.splits import leave_one_out
from recsys_rl.evaluation.protocols import leave_one_out_metrics, ranking_task


def popularity(history: Interactions, target: Interactions) -> tuple[float, float, float]:
    """Recall@10 by RecTools; by ours, at the worst and at the best order of ties."""
    log, users = dataset_of(history), target.user.numpy()
    shown = PopularModel(popularity="n_interactions").fit(log).recommend(users, log, 10, True)
    wanted = pd.DataFrame({Columns.User: users, Columns.Item: target.item.numpy()})
    theirs = Recall(k=10).calc(shown, wanted)
    score = Popularity(history)
    of_target = torch.zeros(history.n_users + 1, dtype=torch.long)
    of_target[target.user] = target.item
    found = []
    for push in (-0.5, 0.5):  # the target behind or before all that are equal to it

        def pushed(histories, push=push):
            scores = score(histories).float().clone()
            scores[torch.arange(len(scores)), of_target[histories.user]] += push
            return scores

        found.append(leave_one_out_metrics(pushed, history, target).mean()["hr@10"])
    return theirs, *found


def same_lists(history: Interactions, target: Interactions, users: int = 200) -> float:
    """Share of places in which both lists of ten hold the same item."""
    log, some = dataset_of(history), target.select(torch.arange(len(target)) < users)
    model = SASRecModel(**SETTINGS)
    model._trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    shown = model.fit(log).recommend(some.user.numpy(), log, 10, True)
    theirs = torch.as_tensor(shown[Columns.Item].to_numpy("int64")).view(users, 10)
    by_us = leave_one_out_metrics(score_of(model, history.n_items), history, some).top
    return float((theirs == by_us).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--root", type=Path, default=DATA_FOLDER)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
    history, target = ranking_task(leave_one_out(data), "test")
    theirs, worst, best = popularity(history, target)
    print(f"popularity, Recall@10: {theirs:.5f} by RecTools, {worst:.5f} to {best:.5f} by ours")
    lists = same_lists(history, target)
    print(f"SASRec, places of the lists of ten that are the same: {lists:.4f}")
    if not (worst <= theirs <= best and lists > 0.99):
        parser.exit(1, "the two ways do not agree\n")


if __name__ == "__main__":
    main()
