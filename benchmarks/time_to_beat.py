"""How long from nothing to Hit@10 .503 and nDCG@10 .268 under protocol C, the older project's best.

    python benchmarks/time_to_beat.py --dataset ml-1m --threads 2

The clock starts before the files are read. The agent is DRR-set with its settings for this split,
without a profile; after every tenth update it is judged on a tenth of the train rows, held out, by
those of 2,000 people; the clock stops when both figures are passed there, and only then is the test
part judged, once.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import study
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.splits import random_split
from recsys_rl.evaluation import protocols, scores

BEAT = {"sampled_hr@10": 0.503, "sampled_ndcg@10": 0.268}


def judge(
    score: scores.ScoreFunction, log: Interactions, held_out: Interactions
) -> dict[str, float]:
    """Protocol C: every held-out row against 99 films that are no positive of the person."""
    generator = torch.Generator().manual_seed(3)
    negatives = protocols.sample_negatives(log.concat(held_out), held_out.user, generator=generator)
    return protocols.random_positive_metrics(score, log, held_out, negatives).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m", choices=list(study.BUDGETS))
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = study.agents(options.dataset, "positives", per_epoch=0)["DRR-set"]
    for seed in options.seeds:
        begun = time.perf_counter()
        data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
        split = protocols.random_positive_split(data)
        part = random_split(split.train, 0.1, seed=1)
        few = part.test.select(part.test.user < 2000)
        chosen = replace(settings, profile="", imitation_updates=100, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        start = study.start_of(chosen, part.train, generator)
        agent = DDPG(chosen, data.n_users, data.n_items, start)
        _, demonstrations = agent.play(part.train)
        loaded, updates = time.perf_counter() - begun, 0
        found = judge(agent.score, part.train, few)
        while any(found[metric] <= beat for metric, beat in BEAT.items()):
            for _ in range(10):
                agent.imitate(next(demonstrations))
            updates += 10
            found = judge(agent.score, part.train, few)
        seconds = time.perf_counter() - begun
        test = judge(agent.score, part.train.concat(part.test), split.test)
        shown = {metric: round(value, 3) for metric, value in test.items()}
        print(
            f"{options.dataset}, seed {seed}, {options.threads} threads: {seconds:.1f} s "
            f"(of which {loaded:.1f} s until the first judgement), {updates} updates, test {shown}",
            flush=True,
        )


if __name__ == "__main__":
    main()
