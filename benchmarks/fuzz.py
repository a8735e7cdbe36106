"""Tries inputs that nobody thought of: each is used, or refused in one sentence, and nothing hangs.

    python -m benchmarks.fuzz --minutes 10
    python -m benchmarks.fuzz --minutes 5 --kinds command --seed 7

Kinds: data files of every layout; config and weights of releases; arguments of the command and of
the training command, which stops where the training would begin; calls of the environment. The last
line counts tries and failures; exit code 1 if there were any. The tests run the same for a moment.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import io
import itertools
import json
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import numpy as np
import torch
from gymnasium.error import Error as GymnasiumError

from benchmarks import fuzz_inputs
from recsys_rl import train, train_command
from recsys_rl.agent.build import linear_model
from recsys_rl.agent.config import Config, DDPGConfig, EnvConfig, PretrainConfig, StateConfig
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.command.arguments import _parser as parser_of_command
from recsys_rl.command.main import main as command
from recsys_rl.data import download
from recsys_rl.data.arguments import number_of, whole_number
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.opening import open_data
from recsys_rl.envs.registration import GymColdStartEnv
from recsys_rl.release_files import CONFIG, WEIGHTS
from recsys_rl.releasing import release
from recsys_rl.serving import Recommender
from recsys_rl.states.layers import PooledDropout
from recsys_rl.tasks.base import Task

MORE = 2.0  # seconds that a bad input may take longer than a good one
HANGS = 30  # seconds
LONGEST = 6000  # characters of a sentence; a title that was typed may stand in it
BATCH = 200  # tries of one kind before it is another's turn
CONFIG_OF_SETS = Config(
    StateConfig("DRR-set", k=4, n=7, embeddings="random", linear="gaussian"),
    PretrainConfig(updates=1),
    DDPGConfig(updates=20),
    EnvConfig("cold-start", sessions=8, horizon=4),
)


class Fault(AssertionError):
    """What must not happen."""


class Reached(Exception):
    """The training would begin here."""


# -------------------------------------------------------------------------------- what is tried


class World:
    """A folder with data and a release, in which commands run; no network.

    data/films: 40 users, 30 films. models/films: a release of an agent that was not trained.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "models" / "films"
        (folder / "file").write_text("")
        write_films(folder / "data" / "films")
        self.log = open_data("films", folder / "data").interactions()
        generator = torch.Generator().manual_seed(0)
        linear = linear_model(CONFIG_OF_SETS, self.log, generator)
        agent = DDPG(CONFIG_OF_SETS, self.log.n_users, self.log.n_items, linear=linear)
        texts = {"dataset": "films", "command": "", "protocol": ""}
        release(agent, self.log, self.model, metrics={"hit": "0.1"}, **texts)
        self.config = json.loads((self.model / CONFIG).read_text(encoding="utf-8"))
        self.weights = (self.model / WEIGHTS).read_bytes()

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """In this folder, offline, and without a training."""

        def offline(*_: Any) -> None:
            raise OSError("there is no network")

        def reached(*_: Any, **__: Any) -> None:
            raise Reached

        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.chdir(self.folder))
            cache = {"XDG_CACHE_HOME": str(self.folder / "cache")}
            stack.enter_context(mock.patch.dict(os.environ, cache))
            for name in ("fetch", "_from_wheel"):
                stack.enter_context(mock.patch.object(download, name, offline))
            stack.enter_context(mock.patch.object(Task, "build", reached))
            stack.enter_context(mock.patch.object(PooledDropout, "SIZE", 2**12))
            yield


def write_films(folder: Path) -> None:
    """A data set in the layout of ratings.csv: whoever likes odd films dislikes the others."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["userId,movieId,rating,timestamp"]
    for user in range(1, 41):
        for item in rng.choice(30, 20, replace=False):
            rating = 5 - (user + int(item)) % 2 * int(rng.integers(1, 4))
            rows.append(f"{user},{item + 1},{rating},{978_300_000 + len(rows)}")
    films = ["movieId,title,genres", "1,Twice Told (1990),Drama", "2,Twice Told (1990),Drama"]
    films += [f'{i},"Film {i}, The ({1950 + i})",Action|Comedy' for i in range(3, 34)]
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "movies.csv").write_text("\n".join(films) + "\n", encoding="utf-8")


def try_data(world: World, given: fuzz_inputs.DataFolder) -> None:
    with tempfile.TemporaryDirectory(dir=world.folder) as name:
        folder = Path(name)
        for file, content in given.files.items():
            (folder / file).write_bytes(content)
        dataset = folder if given.dataset == "." else folder / "table.csv"
        try:
            data = open_data(dataset, folder, **given.options)
            ratings, log = data.ratings, data.interactions()
        except (ValueError, OSError) as error:
            expect(not given.good, f"refused: {error}")
            sentence(str(error))
            return
        if not {"duplicates", "min_ratings"} & set(given.options):
            rows = rows_in(*next(iter(given.files.items())))
            expect(len(ratings) == rows, f"{len(ratings)} rows of {rows}")
        expect(np.isfinite(ratings["rating"]).all() and ratings["rating"].between(0.5, 5).all())
        expect((ratings["timestamp"] >= 0).all() and ratings["timestamp"].dtype == np.int64)
        expect(not ratings.duplicated(["user", "item"]).any())
        expect(set(ratings["item"]) <= set(data.movies["item"]))
        expect(len(log) == len(ratings) > 0)
        expect((log.user.diff() >= 0).all().item())


def rows_in(name: str, content: bytes) -> int:
    """Rows of a ratings file, counted in another way than the project's."""
    file = io.StringIO(content.decode("utf-8-sig", errors="replace"), newline=None)
    quoting = csv.QUOTE_MINIMAL if name.endswith(".csv") else csv.QUOTE_NONE
    rows = [row for row in csv.reader(file, quoting=quoting) if "".join(row).strip()]
    return len(rows) - name.endswith(".csv")


def try_release(world: World, given: fuzz_inputs.Tampering) -> None:
    with tempfile.TemporaryDirectory(dir=world.folder) as name:
        folder = Path(name)
        tamper(world, given, folder)
        try:
            recommender = Recommender.load(folder)
            ids = recommender.item_ids
            found = recommender.recommend(ids[:2].tolist(), k=1)
            expect(len(found) == 1 and np.isfinite(found[0][1]))
        except ValueError as error:
            sentence(str(error))
        try_command(world, ["--model", str(folder), "--root", "data", "--seed", "1"])


def tamper(world: World, given: fuzz_inputs.Tampering, folder: Path) -> None:
    """Write the release of the world into `folder`, changed."""
    length = int.from_bytes(world.weights[:8], "little")
    header, values = world.weights[8 : 8 + length], bytearray(world.weights[8 + length :])
    if given.header:
        header = json.dumps(fuzz_inputs.changed(json.loads(header), given.header)).encode()
    for place, number in given.numbers:
        place = place * 4 % len(values)
        values[place : place + 4] = np.float32(number).tobytes()
    weights = len(header).to_bytes(8, "little") + header + values
    config = fuzz_inputs.changed(world.config, given.config)
    if given.hashed:
        config["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    files = {CONFIG: json.dumps(config).encode(), WEIGHTS: weights}
    for name, place, content in given.raw:
        before = files[name]
        files[name] = before[:place] + content + before[place + len(content) :]
    if given.cut:
        name, length = given.cut
        files[name] = files[name][:length]
    for name, content in files.items():
        (folder / name).write_bytes(content)


def try_command(world: World, argv: list[str]) -> None:
    answered(lambda: command(argv), "recommendation.py: ")


def try_training(world: World, argv: list[str]) -> None:
    answered(lambda: train.main([*argv, "--threads", "1"]), "recsys_rl.train: ")


def answered(call: Callable[[], int], start: str) -> None:
    """Exit code 0, or 2 and a sentence on stderr for each refusal, behind notes."""
    out, err = io.StringIO(), io.StringIO()
    keys = mock.patch("sys.stdin", io.StringIO("1\n\n?\nq\n"))  # for whatever asks
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), keys:
        try:
            code = call()
        except SystemExit as stopped:  # --help
            code = stopped.code or 0
        except Reached:
            code = 0
    expect(code in (0, 2), f"exit code {code}")
    lines = [line for line in err.getvalue().split("\n") if not line.startswith("note: ")]
    if code == 2:
        expect(out.getvalue() == "", "a refusal on stdout")
        expect(len(lines) > 1 and lines.pop() == "", err.getvalue())
        for line in lines:
            expect(line.startswith(start), err.getvalue())
            sentence(line)
    else:
        expect("Traceback" not in err.getvalue(), err.getvalue())


def try_episode(world: World, calls: list[tuple[str, Any]]) -> None:
    environment = GymColdStartEnv(users=world.log, vectors=vectors_of(world.log), horizon=2)
    running = False
    for name, given in calls:
        try:
            if name == "reset":
                observation, info = environment.reset(**given)
                running = True
            else:
                observation, reward, terminated, truncated, info = environment.step(given)
                expect(running and np.isfinite(reward))
                running = not (terminated or truncated)
            expect(observation in environment.observation_space)
        except (ValueError, GymnasiumError) as error:
            sentence(str(error))


def vectors_of(log: Interactions) -> torch.Tensor:
    return torch.randn(log.n_items, 3, generator=torch.Generator().manual_seed(0))


GOOD = ["--root", "data", "--models", "models", "--dataset", "films"]
KINDS: dict[str, tuple[Callable, Callable]] = {  # name -> strategy for a world, what is tried
    "data": (lambda world: fuzz_inputs.data_folders(), try_data),
    "release": (
        lambda world: fuzz_inputs.tamperings(world.config, header_of(world), len(world.weights)),
        try_release,
    ),
    "command": (
        lambda world: fuzz_inputs.command_lines(parser_of_command(), GOOD),
        try_command,
    ),
    "training": (
        lambda world: fuzz_inputs.command_lines(train_command._parser(), [*GOOD[:2], *GOOD[4:]]),
        try_training,
    ),
    "environment": (lambda world: fuzz_inputs.episodes(3), try_episode),
}


def header_of(world: World) -> dict[str, Any]:
    length = int.from_bytes(world.weights[:8], "little")
    return json.loads(world.weights[8 : 8 + length])


# -------------------------------------------------------------------------------- what is held


def expect(holds: bool, finding: str = "") -> None:
    if not holds:
        raise Fault(finding)


def sentence(text: str) -> None:
    """One line that can be shown in a terminal."""
    odd = [c for c in text if not c.isprintable()]
    expect(bool(text.strip()) and not odd, f"no sentence: {text!r}")
    expect(len(text) < LONGEST, f"{len(text)} characters: {text[:80]!r}")


@contextlib.contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Fault if it computes for longer, or hangs."""

    def too_long(*_: Any) -> None:
        raise Fault(f"it hangs: no answer in {HANGS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(HANGS)
    start = time.process_time()
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    took = time.process_time() - start
    expect(took < seconds, f"it takes {took:.1f} s")


def tried(world: World, kind: str, settings: hypothesis.settings, seed: int | None = None) -> int:
    """Try inputs of a kind -> how many; raises what the smallest one raised that failed."""
    strategy_of, attempt = KINDS[kind]
    count = 0

    @settings
    @hypothesis.given(strategy_of(world))
    def work(given: Any) -> None:
        nonlocal count
        count += 1
        with in_time(MORE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # items that a model does not know
            with contextlib.redirect_stderr(io.StringIO()):  # notes
                attempt(world, given)

    with world.inside():
        (work if seed is None else hypothesis.seed(seed)(work))()
    return count


def settings(tries: int, **more: Any) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=tries,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
        **more,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=number_of("a number of minutes"), default=10.0)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument(
        "--seed", type=whole_number(0), default=None, help="of the first batch (default: time)"
    )
    options = parser.parse_args(arguments)
    seed = time.time_ns() % 10**9 if options.seed is None else options.seed
    torch.set_num_threads(1)
    tries, failures = dict.fromkeys(options.kinds, 0), 0
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        end = time.monotonic() + 60 * options.minutes
        for kind in itertools.cycle(options.kinds):
            try:
                tries[kind] += tried(world, kind, settings(BATCH), seed)
            except Exception as error:
                failures += 1
                print(f"{kind}, seed {seed}: {type(error).__name__}: {error}")
                print("\n".join(getattr(error, "__notes__", [])), flush=True)
                tries[kind] += BATCH
            seed += 1
            if time.monotonic() >= end:
                break
    print(", ".join(f"{kind} {count:,}" for kind, count in tries.items()))
    print(f"{sum(tries.values()):,} tries, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
