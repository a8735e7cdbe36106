"""SASRec of RecTools (Apache-2.0) on our leave-one-out split, judged by our protocol.

    python -m benchmarks.peers.rectools_sasrec --dataset ml-1m --minutes 60

Runs in an environment of its own (`README.md` here says how that is made); the split, the order of
equal time stamps and the judge are this project's, imported as they are.
`benchmarks.next_item_peer` calls this with three times the minutes that DRR-seq took.

Settings: those of RecTools' own public benchmark, which its transformers tutorial refers to
(examples/tutorials/transformers_tutorial.ipynb of github.com/MobileTeleSystems/RecTools, commit
41a5a63; github.com/blondered/bert4rec_repro, commit 67cd06d): softmax over the catalogue and the
library's defaults, at most 200 epochs, the weights that are best on validation users. It reports
Recall@10 .306 and nDCG@10 .178 on ML-1M, leave one out. Its HSTU tutorial has a second SASRec (50
factors, 128 negatives), with .288 and .162. Here the best weights are those by nDCG@10, as for
DRR-seq, instead of Recall@10; patience is not needed, and the limit is in minutes, which may end an
epoch early. There, 2,048 users have a validation row; here all have one, which neither model learns
from. This SASRec learns from the last 101 train rows of a user alone.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pandas as pd
import pytorch_lightning as lightning
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from torch import Tensor
from torch.nn import functional as F

from benchmarks.peers.curve import CHOSEN_BY, PATH, PEER, SPLIT, Best, Curve
from recsys_rl.data.arguments import number_of, whole_number
from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.tasks.base import Task
from recsys_rl.tasks.registry import task_of

EPOCHS = 200
SETTINGS = {
    "loss": "softmax",
    "n_factors": 256,
    "n_blocks": 2,
    "n_heads": 4,
    "session_max_len": 100,
    "dropout_rate": 0.2,
    "lr": 0.001,
    "batch_size": 128,
}


def dataset_of(log: Interactions) -> Dataset:
    """Indices as ids, and the place of a row as its time: SASRec reads the order alone."""
    rows = {Columns.User: log.user.numpy(), Columns.Item: log.item.numpy(), Columns.Weight: 1}
    place = pd.to_datetime(range(len(log)), unit="s")
    return Dataset.construct(pd.DataFrame(rows | {Columns.Datetime: place}))


def score_of(model: SASRecModel, n_items: int) -> ScoreFunction:
    """The fitted network as a score function; items without a train row score -inf.

    As in `SASRecModel.recommend`: unknown items leave a history, and what is left is padded to
    `session_max_len`, since this SASRec attends to padding.
    """
    network, width = model.torch_model, model.session_max_len
    known = torch.as_tensor(model.data_preparator.get_known_item_ids().astype("int64"))
    internal = torch.as_tensor(model.data_preparator.get_known_items_sorted_internal_ids())
    index = torch.zeros(n_items + 1, dtype=torch.long)  # 0 is their padding
    index[known] = internal

    def score(histories: Histories) -> Tensor:
        network.eval()
        vectors = network.item_model.get_all_embeddings()
        sessions = last_of(index[histories.item], width)
        user = network.encode_sessions({"x": sessions}, vectors)[:, -1]  # (B, d)
        scores = torch.full((len(histories), n_items), -torch.inf)
        scores[:, known] = network.similarity_module(user, vectors)[:, internal]
        return scores

    return score


def last_of(items: Tensor, width: int) -> Tensor:
    """The last `width` entries above 0 of each row [B, H] -> int64 [B, width], 0 on the left."""
    order = (items > 0).int().argsort(dim=1, stable=True)
    return F.pad(items.gather(1, order), (width, 0))[:, -width:]


class Judged(lightning.Callback):
    """Judges after every epoch, keeps the best weights, ends the training when its time is up."""

    def __init__(self, judge: Callable[[], float], curve: Curve, minutes: float) -> None:
        self.judge, self.curve, self.minutes, self.best = judge, curve, minutes, Best()

    def __deepcopy__(self, memo: dict) -> Judged:
        return self  # RecTools trains by a copy of the trainer

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        trainer.should_stop |= self.curve.clock.minutes[0] >= self.minutes

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: torch.nn.Module) -> None:
        self.best.offer(self.judge(), lambda: deepcopy(module.torch_model.state_dict()))
        module.train()


def run(task: Task, curve: Curve, seed: int, minutes: float, epochs: int = EPOCHS) -> None:
    """Train within the minutes, judging on validation rows; then judge the test rows once."""
    lightning.seed_everything(seed)
    model, n_items = SASRecModel(**SETTINGS), task.train.n_items

    def judge() -> float:
        def validate() -> dict[str, float]:
            return task.validate(score_of(model, n_items))

        return curve.judge("validation", validate)[CHOSEN_BY]

    judged = Judged(judge, curve, minutes)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    # RecTools' documented way to bring one's own trainer to a model that is there
    model._trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[judged],
        enable_model_summary=False,
        **quiet,
    )
    model.fit(dataset_of(task.train))
    model.torch_model.load_state_dict(judged.best.kept)
    curve.judge("test", lambda: task.test(score_of(model, n_items))[SPLIT].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=DATA_FOLDER)
    parser.add_argument("--seed", type=whole_number(0), default=0)
    parser.add_argument("--threads", type=whole_number(1), default=1)
    parser.add_argument(
        "--minutes",
        type=number_of("a number of minutes"),
        required=True,
        help="of training, at most",
    )
    parser.add_argument("--epochs", type=whole_number(1), default=EPOCHS, help="at most")
    parser.add_argument("--into", type=Path, default=PATH, help="the table of rows")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(options.threads)
    data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
    task = task_of(data, SPLIT)
    key = {"dataset": options.dataset, "split": SPLIT, "model": PEER, "seed": options.seed}
    curve = Curve(options.into, options.threads, **key)
    run(task, curve, options.seed, options.minutes, options.epochs)


if __name__ == "__main__":
    main()
