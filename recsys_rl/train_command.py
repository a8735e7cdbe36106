"""What `python -m recsys_rl.train` does, from what was typed to the exit code."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from recsys_rl.agent.checkpoint import BadCheckpoint, Checkpoints
from recsys_rl.agent.config import DEVICES, Config
from recsys_rl.agent.ddpg import Diverged
from recsys_rl.agent.tracking import check_tensorboard, tensorboard
from recsys_rl.agent.training import Interrupted
from recsys_rl.data import opening, ranks
from recsys_rl.data.arguments import MOST_THREADS, Parser, number_of, whole_number
from recsys_rl.data.atomic_files import FolderInUse, writable
from recsys_rl.data.devices import resolved
from recsys_rl.data.download import DataUnavailable
from recsys_rl.data.forks import allowed_threads
from recsys_rl.data.notes import note, say, shortened, shown
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.experiments import NAMES, config_of
from recsys_rl.release_files import refuse_foreign
from recsys_rl.releasing import refuse_large_weights, refuse_long_ids, release
from recsys_rl.states.registry import STATES
from recsys_rl.tasks.registry import SPLITS, split_for, task_of

STOPPED = BadCheckpoint, FolderInUse, Diverged, ranks.RankLost
PROBLEMS = (*STOPPED, DataUnavailable, ValueError, OSError)


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must be a folder, not an empty text")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    about = "Train an agent of the registry, with checkpoints, and release it."
    parser = Parser(prog="recsys_rl.train", description=about)
    add = parser.add_argument
    opening.add_arguments(parser)
    add("--agent", default="DRR-set", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    add(
        "--split",
        metavar="NAME",
        help="what to train on and test by (default: as the agent needs): " + ", ".join(SPLITS),
    )
    add("--seed", type=whole_number(0), default=0)
    add("--device", default=Config.device, choices=DEVICES, help="where it is trained")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="as in ddpg.gamma=0")
    add("--checkpoints", type=_folder, metavar="DIR", help="where checkpoints go")
    add(
        "--checkpoint-every", type=number_of("a number of seconds"), default=60.0, metavar="SECONDS"
    )
    add("--resume", action="store_true", help="go on from the checkpoint that is there")
    add("--out", type=_folder, metavar="DIR", help="where the release goes")
    add("--tensorboard", type=_folder, metavar="DIR", help="where its figures go as it trains")
    add("--threads", type=whole_number(1, MOST_THREADS), default=torch.get_num_threads())
    return parser


def configured(options: argparse.Namespace, dataset: str) -> Config:
    changes = {"device": options.device}
    for text in options.set:
        path, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set takes FIELD=VALUE, as in ddpg.gamma=0, not {text!r}")
        changes[path] = value
    return config_of(options.agent, dataset, options.seed).with_fields(changes)


def run(options: argparse.Namespace, command: str) -> None:
    if options.resume and not options.checkpoints:
        raise ValueError("--resume needs --checkpoints: the folder to go on from")
    folders = [f for f in (options.out, options.checkpoints, options.tensorboard) if f]
    if ranks.rank() == 0:
        if options.out:
            refuse_foreign(options.out)
        writable(*folders)  # before the training, not after it
        check_tensorboard(options.tensorboard)
    with ranks.first_of_machine_first():
        data = opening.open_data(**opening.options_of(options))
    dataset = data.name
    config = configured(options, dataset)
    split = split_for(config.env.name) if options.split is None else options.split
    if options.order == "file" and split == "after-a-pause":
        raise ValueError("--split after-a-pause needs times, and --order file has none")
    interactions = data.interactions().to(resolved(config.device))
    task = task_of(interactions, split, data.movies)
    task.check(config)
    if options.out:
        refuse_long_ids(task.train)
    state = STATES.get(config.state.name)
    if options.order == "file" and state and state.reads_clock:
        note(
            f"{options.agent} reads the clock, and these rows have no times: it learns their order"
        )
        task = task.without_clock()
    checkpoints = options.checkpoints and Checkpoints(
        options.checkpoints,
        f"{dataset}-{split}-{options.agent}{task.mark}",
        config,
        task.train,
        every=options.checkpoint_every,
        resume=options.resume,
    )
    if options.resume and not checkpoints.there:
        note(f"{options.checkpoints} holds no checkpoint of this very training: it starts anew")
    training = task.build(config)
    if options.out:
        refuse_large_weights(training.agent)
    agent = training.agent
    with tensorboard(options.tensorboard if ranks.rank() == 0 else None) as callbacks:
        trained = task.fit(training, checkpoints=checkpoints, callbacks=callbacks)
    with _trained(checkpoints):
        found = task.tested(agent)  # by all ranks together
    if ranks.rank() > 0:
        return
    metrics = bracketed(found)
    if options.out:
        about = f"{task.about}; test part of {dataset}; 95 % bootstrap interval over users"
        with _released(options.out, checkpoints):
            release(
                agent,
                task.train,
                options.out,
                dataset=dataset,
                command=command,
                protocol=about,
                metrics=metrics,
                history=trained.history,
            )
    if checkpoints:
        checkpoints.remove()
    lines = [f"{dataset}, {options.agent}, seed {config.seed}, {task.about}"]
    lines += [f"{name:16} {text}" for name, text in metrics.items()]
    lines += [f"released to {options.out}"] if options.out else []
    _tell(lines, options.out)


def _tell(lines: list[str], out: Path | None) -> None:
    """On stdout, whose reader may have gone: nothing is lost by that any more."""
    try:
        print(*map(shown, lines), sep="\n", flush=True)
    except OSError as error:
        # what is still in the buffer would fail once more when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        kept = f"the release in {out} has them" if out else "train again to see them"
        reason = error.strerror or error
        raise OSError(f"the figures cannot be written to stdout ({reason}): {kept}") from error


@contextlib.contextmanager
def _trained(checkpoints: Checkpoints | None) -> Iterator[None]:
    """An interrupt after the training says what is left of it."""
    try:
        yield
    except KeyboardInterrupt:
        kept = (
            f"{checkpoints.latest} holds it, the same call with --resume evaluates it"
            if checkpoints
            else "nothing was kept, since no folder for checkpoints was given"
        )
        raise Interrupted(f"stopped after the training: {kept}", signal.SIGINT) from None


@contextlib.contextmanager
def _released(folder: Path, checkpoints: Checkpoints | None) -> Iterator[None]:
    """A full disk says which folder it was, and what is left of the training."""
    try:
        yield
    except OSError as error:
        left = (
            f"{checkpoints.latest} holds the training: mend that, and the same call with --resume "
            "releases it"
            if checkpoints
            else "mend that and train again, with --checkpoints, which would have kept the training"
        )
        reason = error.strerror or error
        raise OSError(f"the release {folder} cannot be written ({reason}): {left}") from error


def bracketed(found: dict[str, Evaluation]) -> dict[str, str]:
    """Metric -> mean and interval over users, as text; single steps of sessions are left out."""
    shown = {}
    for protocol, evaluation in found.items():
        intervals = evaluation.interval()
        for name, mean in evaluation.mean().items():
            low, high = intervals[name]
            left_out = name.startswith("step@") or math.isnan(mean)  # nobody counts
            if not left_out:
                label = f"{protocol}, {name}" if name in shown else name
                shown[label] = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    return shown


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv

    def train() -> None:
        options = _parser().parse_args(arguments)
        threads = allowed_threads(options.threads)
        if threads < options.threads:
            note("a process that was forked computes with one thread")
        torch.set_num_threads(threads)
        with ranks.joined():
            run(options, f"python -m recsys_rl.train {shlex.join(arguments)}")

    return ended("recsys_rl.train", train)


def ended(program: str, main: Callable[[], object]) -> int:
    """Runs `main` -> exit code: 0; 2 where something is wrong with the input, the data, the disk or
    the memory, as a sentence on stderr says; 128 + n where signal n stopped a training."""
    try:
        main()
        return 0
    except Interrupted as error:
        say(f"{program}: {error}")
        return 128 + error.signal
    except PROBLEMS as error:
        told = error
        if isinstance(error, OSError) and error.strerror:
            where = f"{shortened(error.filename)}: " if error.filename else ""
            told = f"{where}{error.strerror}"
        say(f"{program}: {getattr(error, 'sentence', told)}")
        return 2
    except (MemoryError, RuntimeError) as error:
        none_left = "can't allocate memory", "out of memory"  # of a processor, of a GPU
        if isinstance(error, RuntimeError) and not any(x in str(error) for x in none_left):
            raise
        say(f"{program}: too little memory: make state, batches or sessions smaller")
        return 2
