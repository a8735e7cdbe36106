"""Trains agents of the registry over several seeds, evaluates them, records into the results.

    python -m benchmarks.study --dataset ml-1m --agents DRR-set DRR-set-gamma-0 --seeds 0 1 2 3 4
    python -m benchmarks.study --dataset ml-100k --agents DRR-ave --splits leave-one-out ratings
    python -m benchmarks.study --task 3 --of 8       as one of eight jobs; then once with --merge
    python -m benchmarks.study --ray auto            over the workers of a Ray cluster
    python -m benchmarks.study --agents consequences --splits simulated-satiation-0.5

Each run is made by the loop that makes a release, with its checkpoints: a study that is stopped
goes on where it was, in the training or between two evaluations. A run that is in the table is not
made again (--again). The split of the data is the same for all seeds. What was measured goes into
the table by user; `python -m benchmarks.report` then writes docs/results.md.
"""

import argparse
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from benchmarks import cluster, results
from benchmarks.cluster import Run
from benchmarks.options import exit_with
from recsys_rl.agent.build import Training
from recsys_rl.agent.checkpoint import Checkpoints
from recsys_rl.agent.config import DEVICES, Config
from recsys_rl.agent.training import Trained
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.atomic_files import writable, write_atomically
from recsys_rl.data.devices import resolved
from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_movies, load_ratings
from recsys_rl.data.notes import shortened
from recsys_rl.data.random_streams import own_stream
from recsys_rl.evaluation.calibration import Calibration
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.experiments import NAMES, config_of
from recsys_rl.tasks.base import Task
from recsys_rl.tasks.registry import SPLITS, is_split, needs_movies, split_for, task_of

PROBED = ("DRR-ave",)  # agents that are evaluated with parts taken away, too: see `probes`


Record = Callable[[pd.DataFrame], None]


def run(
    task: Task,
    dataset: str,
    split: str,
    name: str,
    seed: int,
    checkpoints: Path,
    record: Record = lambda rows: None,
    device: str = "cpu",
) -> pd.DataFrame:
    """One training and all its evaluations, as rows of the table.

    The checkpoint of the training, and the rows of every stage that was evaluated, stay until
    `record` has them all.
    """
    config = configured(Run(dataset, split, name, seed), device)
    training = task.build(config)
    untrained = {n: w.clone() for n, w in training.agent.actor.state_dict().items()}
    kept = Checkpoints(
        checkpoints, f"{dataset}-{split}-{name}-{seed}{task.mark}", config, task.train
    )
    shared = Checkpoints(
        checkpoints / "pretrained",
        f"{dataset}-{split}{task.mark}",
        config.pretraining(),
        task.train,
    )
    measured = Measured(kept.latest)
    trained = task.fit(training, checkpoints=kept, pretrained=shared)
    seconds = {
        "training_seconds": trained.seconds[0],
        "training_cpu_seconds": trained.seconds[1],
        "threads": torch.get_num_threads(),
    }
    key = {"dataset": dataset, "split": split, "agent": name, "seed": seed}
    if not len(measured.rows):
        measured.add([results.rows(seconds, **key, stage="final", protocol="training")])
    if task.calibrate is not None and "calibration" not in measured.stages:
        measured.add(calibration_rows(task.calibrate(training.agent), key))
    counts = torch.bincount(task.train.item, minlength=task.train.n_items)
    for stage, score in stages(training, trained, untrained, task, probed=name in PROBED):
        if stage in measured.stages:
            continue
        rows = []
        for protocol, found in task.tested(training.agent, score).items():
            full = key | {"stage": stage, "protocol": protocol}
            told = found.weights is None and stage not in TAKEN_AWAY
            by_user = kept_by_user(found.metrics) if told else ()
            rows.append(results.rows_of(found, by_user=by_user, counts=counts, **full))
        measured.add(rows)
    record(measured.rows)
    measured.remove()
    kept.remove()
    return measured.rows


# stages without values by user
TAKEN_AWAY = "untrained", "no history", "history shuffled", "one user's action for all"


def kept_by_user(metrics: Iterable[str]) -> list[str]:
    """The metrics whose values by user go into the table, which all of them would fill.

    Neither those of a step or of all steps together nor, where full ranking is there too, those
    among sampled negatives; of re-ranking, those of the paper.
    """
    among = {f"sampled_{name}" for name in metrics}
    if "long_precision@5" in metrics:
        return ["precision@5", "precision@10"]
    return [n for n in metrics if not n.startswith(("step@", "total@")) and n not in among]


def calibration_rows(found: dict[str, Calibration], key: dict) -> list[pd.DataFrame]:
    """Mean Q, mean return and relative error at three steps, and the worst tenth in the middle."""
    rows = []
    for users, sessions in found.items():
        values = sessions.evaluation().mean()
        values |= {f"error, {n} step": sessions.error(step) for n, step in sessions.steps.items()}
        values["worst tenth"] = sessions.worst_tenth(sessions.steps["middle"])
        rows.append(
            results.rows(values, **key, stage="calibration", protocol=f"calibration, {users}")
        )
    return rows


class Measured:
    """The rows of a run, in a file beside its checkpoint until they are recorded.

    Without the checkpoint the file is of another training, and it goes.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.path = checkpoint.with_suffix(".rows.csv")
        if not checkpoint.exists():
            self.remove()
        self.rows = pd.DataFrame(columns=results.COLUMNS)
        if self.path.exists():
            self.rows = pd.read_csv(self.path)

    @property
    def stages(self) -> set[str]:
        return set(self.rows.loc[self.rows["protocol"] != "training", "stage"])

    def add(self, rows: list[pd.DataFrame]) -> None:
        there = [self.rows] if len(self.rows) else []
        self.rows = pd.concat([*there, *rows], ignore_index=True)
        write_atomically(self.path, self.rows.to_csv(index=False).encode())

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def stages(
    training: Training, trained: Trained, untrained: dict, task: Task, probed: bool
) -> Iterator[tuple[str, ScoreFunction]]:
    """The agent as trained and as pretrained, and what it is with something taken away.

    With a linear model, also as pretrained with the gate of before: that shows how much of what
    DDPG brings is the gate.
    """
    agent = training.agent
    yield "final", agent.score
    if probed:
        yield from probes(agent.score, task.train, agent.config.seed)
        agent.actor.load_state_dict(untrained)
        yield "untrained", agent.score
    if "pretrained" in trained.weights:
        agent.actor.load_state_dict(trained.weights["pretrained"])
        yield "pretrained", agent.score
        if agent.actor.linear is not None:
            agent.actor.linear.reset()
            yield "pretrained, gate reset", agent.score


def probes(
    score: ScoreFunction, log: Interactions, seed: int
) -> Iterator[tuple[str, Callable[[Histories], torch.Tensor]]]:
    """An agent with something taken away from it when it is evaluated."""
    generator = own_stream(seed, "shuffled histories")

    def nothing(histories: Histories) -> torch.Tensor:
        item = torch.full_like(histories.item[:, :1], log.n_items)
        return score(_told(histories, item, torch.zeros_like(histories.rating[:, :1])))

    def shuffled(histories: Histories) -> torch.Tensor:
        keys = torch.rand(histories.item.shape, generator=generator).to(histories.item.device)
        order = keys.masked_fill_(histories.item == log.n_items, -1.0).argsort(1)
        columns = histories.item.gather(1, order), histories.rating.gather(1, order)
        return score(_told(histories, *columns))

    same = score(log.histories(log.user.new_zeros(1)))
    yield "no history", nothing
    yield "history shuffled", shuffled
    yield "one user's action for all", lambda histories: same.expand(len(histories), -1)


def _told(histories: Histories, item: torch.Tensor, rating: torch.Tensor) -> Histories:
    """The same users at the same time, told of other items."""
    return replace(histories, item=item, rating=rating, user_vector=None)


def forget_pretraining(checkpoints: Path) -> None:
    """Remove the shared checkpoints: they are of the code that made them, and take room."""
    for left in (checkpoints / "pretrained").glob("*.ckpt"):
        left.unlink()


def is_there(dataset: str, split: str, agent: str, seed: int) -> bool:
    """Whether a run is in the table."""
    key = {"dataset": dataset, "split": split, "agent": agent, "seed": seed}
    return bool(len(results.select(**key, stage="final")))


def runs_of(options: argparse.Namespace) -> list[Run]:
    """All runs that are asked for, each once, seed by seed, so that agents share a pretraining."""
    found = []
    for seed in options.seeds:
        for name in options.agents:
            default = split_for(config_of(name, options.dataset).env.name)
            splits = options.splits or [default]
            found += [Run(options.dataset, split, name, seed) for split in splits]
    return list(dict.fromkeys(found))


def one_run(
    data: Interactions, where: Run, movies: pd.DataFrame | None, checkpoints: Path, threads: int
) -> pd.DataFrame:
    """A run by itself, in any process of any machine, in a folder of its own."""
    torch.set_num_threads(threads)
    folder = checkpoints / "-".join(map(str, where))
    found = run(task_of(data, where.split, movies), *where, folder)
    forget_pretraining(folder)
    return found


def in_order(
    data: Interactions,
    movies: pd.DataFrame | None,
    runs: list[Run],
    checkpoints: Path,
    record: Record,
    device: str,
) -> None:
    """One run after the other in this process, once all of them are known to be possible."""
    tasks = checked_tasks(data, movies, runs, device)
    for _, of_seed in itertools.groupby(runs, key=lambda each: each.seed):
        for where in of_seed:
            tell(where, run(tasks[where.split], *where, checkpoints, record, device))
        forget_pretraining(checkpoints)


def checked_tasks(
    data: Interactions, movies: pd.DataFrame | None, runs: list[Run], device: str
) -> dict[str, Task]:
    """The tasks of runs by split; ValueError where an agent cannot be trained on its split."""
    tasks: dict[str, Task] = {}
    for (split, agent), where in {(run.split, run.agent): run for run in runs}.items():
        try:
            tasks[split] = tasks.get(split) or task_of(data, split, movies)
            tasks[split].check(configured(where, device))
        except ValueError as error:
            raise ValueError(f"{agent} on the split {split}: {error}") from None
    return tasks


def configured(where: Run, device: str) -> Config:
    return config_of(where.agent, where.dataset, where.seed).with_field("device", device)


def tell(where: Run, found: pd.DataFrame) -> None:
    final = found[(found["stage"] == "final") & found["user"].isna()]
    shown = final[~final["metric"].str.startswith("step@")].set_index("metric")
    print(*where, shown["value"].round(4).to_dict(), flush=True)


def _split(name: str) -> str:
    if not is_split(name):
        raise argparse.ArgumentTypeError(
            f"there is no split {shortened(name)!r}: choose among {', '.join(SPLITS)}, "
            "cold-start-eighth-1 to -8 and simulated-FORM-DIAL"
        )
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--dataset", default="ml-1m")
    add("--root", type=Path, default=DATA_FOLDER)
    add("--agents", nargs="+", default=["DRR-set"], choices=NAMES, metavar="NAME")
    add(
        "--splits",
        nargs="+",
        type=_split,
        metavar="NAME",
        help="default: the one that each agent needs",
    )
    add("--seeds", nargs="+", type=whole_number(0), default=list(range(5)))
    add("--again", action="store_true", help="train what is in the table, too")
    add("--checkpoints", type=Path, default=Path("checkpoints/study"))
    add("--threads", type=whole_number(1, MOST_THREADS), default=1)
    add(
        "--task",
        type=whole_number(0),
        metavar="I",
        help="only every --of-th run, from the I-th on; from 0",
    )
    add("--of", type=whole_number(1), default=1, metavar="N", help="how many tasks there are")
    add("--merge", action="store_true", help="put the rows of all tasks into the table")
    add("--device", default="cpu", choices=DEVICES)
    add("--ray", metavar="ADDRESS", help="spread the runs over a Ray cluster; local: start one")
    return parser


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    if options.task is not None and not 0 <= options.task < options.of:
        parser.error(f"--task is within 0 .. {options.of - 1} where --of is {options.of}")
    if options.task is not None and options.ray:
        parser.error("Ray spreads the runs by itself: give either --task or --ray")
    if options.ray and options.device != "cpu":
        parser.error("Ray's workers train on their CPUs: give either --device or --ray")
    torch.set_num_threads(options.threads)
    checkpoints, record = options.checkpoints, results.record
    rows = cluster.RunRows(checkpoints / "rows")
    if options.merge:
        print(f"{rows.merge()} runs put into the table")
        return
    wanted = runs_of(options)
    if options.task is not None:
        wanted, record = wanted[options.task :: options.of], rows.record
        checkpoints = checkpoints / f"task-{options.task}-of-{options.of}"
    if options.again:
        forget_pretraining(checkpoints)
    else:
        wanted = [where for where in wanted if not (is_there(*where) or rows.has(where))]
    writable(checkpoints, *([rows.folder] if options.task is not None else []))
    results.ready()
    folder = options.root / options.dataset
    data = Interactions.from_ratings(load_ratings(folder)).to(resolved(options.device))
    movies = load_movies(folder) if any(needs_movies(each.split) for each in wanted) else None
    if options.ray:
        checked_tasks(data, movies, wanted, options.device)
        settings = {"checkpoints": checkpoints.resolve(), "threads": options.threads}
        work = partial(one_run, movies=movies, **settings)
        failed = cluster.on_ray(options.ray, work, data, wanted, options.threads)
        if failed:
            parser.exit(1, f"{len(failed)} runs failed; the same call makes them again\n")
    else:
        in_order(data, movies, wanted, checkpoints, record, options.device)


if __name__ == "__main__":
    exit_with(main)
