"""What stands beside the agents with simulated users (the paper's online evaluation, section 5).

    python -m benchmarks.simulated --dataset ml-1m
    python -m benchmarks.study --dataset ml-1m --agents DRR-set-simulated --splits simulated

Half of the ratings makes simulator A (PMF), in which agents learn; the other half makes simulator B
(neighbours), which they never meet. The gap between the figures in A and in B shows what an agent
owes to the errors of A, but the two also differ in how easily they are pleased: read it beside the
gaps of popularity and random.
"""

import argparse
from pathlib import Path

import torch

from benchmarks import results
from benchmarks.options import add_device, exit_with, ratings_on
from recsys_rl.baselines.linucb import HLinUCB, LinUCB
from recsys_rl.baselines.popularity import Popularity, Random
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.rewards import paper_reward
from recsys_rl.data.splits import split_users
from recsys_rl.embeddings.pmf import pmf_vectors
from recsys_rl.envs.simulators import Simulators, simulators
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.sessions import simulated_sessions
from recsys_rl.tasks.simulated import SERIES


def baselines(worlds: Simulators) -> dict[str, tuple[ScoreFunction, bool]]:
    """Name -> (score function, whether it is told who the user is)."""
    vectors, prior = pmf_vectors(worlds.pmf)
    linear = {"prior": prior, "reward": paper_reward}
    generator = torch.Generator().manual_seed(0)
    return {
        "greedy on simulator A": (worlds.a.score, True),
        "PMF, user known": (worlds.pmf.score, True),
        "PMF folded in": (worlds.pmf.score, False),
        "random": (Random(worlds.log), False),
        "popularity": (Popularity(worlds.log), False),
        "LinUCB": (LinUCB(vectors, **linear), False),
        "HLinUCB": (HLinUCB(vectors, worlds.log, generator=generator, **linear), False),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=DATA_FOLDER)
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=1)
    add_device(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    results.ready()
    data = ratings_on(options.device, options.root / options.dataset)
    worlds, (others, _) = simulators(data), split_users(data.n_users, (0.9, 0.1))
    models = baselines(worlds)
    for split, series in (("simulated", 0.0), ("simulated-series", SERIES)):
        for letter, world in (("A", worlds.a), ("B", worlds.b)):
            for name, (score, known) in (models | {"oracle": (world.score, True)}).items():
                key = {"dataset": options.dataset, "split": split, "agent": name, "seed": 0}
                key |= {"stage": "final", "protocol": f"simulated-{letter}"}
                found = simulated_sessions(score, world, others, known=known, series=series)
                results.record(results.rows_of(found, by_user=["reward@10"], **key))
                print(split, name, letter, round(found.mean()["reward@10"], 4), flush=True)


if __name__ == "__main__":
    exit_with(main)
