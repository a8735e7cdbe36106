"""The paper's online evaluation, judged twice: where the agent was trained, and elsewhere.

    python benchmarks/simulated.py --dataset ml-1m --seeds 0 1 2 --streak 0 0.1

Half of the ratings makes simulator A (PMF), in which the agents learn; the other half makes
simulator B (neighbours), which they never meet. The gap between the figures in A and in B shows
what an agent owes to the errors of A, but the two also differ in how easily they are pleased: read
it beside the gaps of popularity and random. All four agents of a seed leave from one warm start.

One JSON a run in benchmarks/results/simulated/: <dataset>-streak-<streak>-<seed>.json has a seed's
agents, ...-baselines.json what stands beside them. A run whose file is there is not made again.
Settings were chosen on a tenth of the people; totals are of everybody (the paper's figure), means,
intervals and differences of the other nine tenths.

Source: Liu et al., arXiv 1810.12027, section 5.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from benchmarks import study
from recsys_rl.agent.config import Settings
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.baselines.linucb import HLinUCB, LinUCB
from recsys_rl.baselines.popularity import Popularity, Random
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.rewards import paper_reward
from recsys_rl.data.splits import split_users
from recsys_rl.embeddings.pmf import PMF, pmf_vectors
from recsys_rl.envs.simulated import (
    NeighbourRatings,
    SimulatedSessions,
    Simulator,
    simulated_reward,
    total_reward,
    two_halves,
)
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.statistics import Evaluation

RESULTS = Path(__file__).parent / "results" / "simulated"
STEPS, GIVEN = 10, 3
REWARD = f"reward@{STEPS}"
# Updates of imitation and of DDPG, and in how many of the latter the critic learns alone.
BUDGETS = {"ml-100k": (500, 500, 50), "ml-1m": (1000, 2000, 500)}

Results = dict[str, Evaluation]  # judge -> what it says of one model


class SimulatedAgent(DDPG):
    """DDPG that learns in simulated sessions: `play` is given a simulator in place of a log."""

    streak = 0.0

    def sessions_with(self, people: Simulator, generator: torch.Generator) -> SimulatedSessions:
        settings = self.settings
        return SimulatedSessions(
            people,
            self.actor.item_vectors,
            sessions=settings.sessions,
            n=settings.n,
            horizon=settings.horizon,
            given=settings.given,
            streak=self.streak,
            generator=generator,
        )


def agents(budget: tuple[int, int, int], seed: int) -> dict[str, Settings]:
    """The agents by name: DRR-set, sets alone, in shorter sessions; only stage 2 differs."""
    imitation, ddpg, critic_alone = budget
    drr = replace(
        study.agents("ml-1m", "people", per_epoch=0)["set-no-profile"],
        n=GIVEN + STEPS,
        horizon=STEPS,
        given=GIVEN,
        imitation_updates=imitation,
        ddpg_updates=ddpg,
        critic_warmup=critic_alone,
        sessions=128,
        batch_size=128,
        seed=seed,
    )
    return {
        "DRR-set": drr,
        "gamma 0": replace(drr, gamma=0.0),
        "no critic": replace(drr, guidance=0.0),
    }


class World:
    """Both simulators, and what both judges say of a model."""

    def __init__(self, data: Interactions, k: int = 100) -> None:
        self.log, elsewhere = two_halves(data)  # the rows to learn from, and the judge's own
        generator = torch.Generator().manual_seed(0)
        self.pmf = PMF(data.n_users, data.n_items, k, generator=generator)
        self.pmf.fit(self.log, generator=generator)
        self.trained_in = Simulator.of(self.pmf.score, self.log)
        judge = Simulator.of(NeighbourRatings(elsewhere).score, elsewhere)
        self.judges = {"A": self.trained_in, "B": judge}
        self.others, self.validation = split_users(data.n_users, (0.9, 0.1))

    def judge(self, score: ScoreFunction, streak: float, known: bool = False) -> Results:
        return {
            name: simulated_reward(
                score, people, steps=STEPS, given=GIVEN, known=known, streak=streak
            )
            for name, people in self.judges.items()
        }

    def baselines(self, streak: float, bandits: bool = True) -> dict[str, Results]:
        """What stands beside the agents; the first two are told who the person is."""
        vectors, prior = pmf_vectors(self.pmf)
        bandit = {"prior": prior, "reward": paper_reward}
        generator = torch.Generator().manual_seed(0)
        models = {
            "greedy on A": (self.trained_in.score, True),
            "PMF knows the person": (self.pmf.score, True),
            "PMF folded in": (self.pmf.score, False),
            "random": (Random(self.log), False),
            "popularity": (Popularity(self.log), False),
        }
        if bandits:
            models |= {
                "LinUCB": (LinUCB(vectors, **bandit), False),
                "HLinUCB": (HLinUCB(vectors, self.log, generator=generator, **bandit), False),
            }
        found = {name: self.judge(model, streak, known) for name, (model, known) in models.items()}
        found["oracle"] = {  # each judge's own stars
            name: simulated_reward(
                people.score, people, steps=STEPS, given=GIVEN, known=True, streak=streak
            )
            for name, people in self.judges.items()
        }
        return found

    def figures(self, found: Results, reference: dict[str, Results]) -> dict:
        """Total of everybody; mean, interval, differences to `reference` of the test people."""
        shown = {}
        for judge, result in found.items():
            test = among(result, self.others)
            shown[judge] = {
                "total": round(total_reward(result, STEPS), 1),
                "reward": test.mean()[REWARD],
                "interval": test.interval()[REWARD],
                "validation": among(result, self.validation).mean()[REWARD],
                "minus": {
                    name: test.compare(among(other[judge], self.others), REWARD)._asdict()
                    for name, other in reference.items()
                    if other is not found
                },
            }
        return shown | {"gap": shown["A"]["reward"] - shown["B"]["reward"]}


def among(result: Evaluation, users: torch.Tensor) -> Evaluation:
    """The same evaluation for some of its users: everybody was judged, in the order of indices."""
    metrics = {name: values[users.numpy()] for name, values in result.metrics.items()}
    return replace(result, metrics=metrics, users=users, top=result.top[users])


def learn(
    world: World, options: dict[str, Settings], streak: float, warm: dict
) -> tuple[dict[str, Results], dict[str, float]]:
    """Trains and judges the agents of a seed -> (results by name, CPU seconds of each training).

    warm: the warm start as an earlier call left it, or {}, which is then filled in; it does not
    depend on the streak, which touches rewards alone.
    """
    found, seconds = {}, {}
    for name, settings in options.items():
        generator = torch.Generator().manual_seed(settings.seed)
        start = study.start_of(settings, world.log, generator)
        agent = SimulatedAgent(settings, world.log.n_users, world.log.n_items, start)
        agent.streak, begun, ready = streak, time.process_time(), bool(warm)
        after_imitation = study.train(agent, world.trained_in, lambda *_: None, warm)
        spent = warm["spent"][1]
        seconds[name] = round(time.process_time() - begun + (spent if ready else 0.0), 1)
        found[name] = world.judge(agent.score, streak)
        if "warm start" not in found:
            agent.actor.load_state_dict(after_imitation)
            found["warm start"] = world.judge(agent.score, streak)
            seconds["warm start"] = round(spent, 1)
    return found, seconds


def write(path: Path, result: dict) -> None:
    """Write the JSON in one move, and print its table."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(path)
    print(path.name)
    for name, row in result["rows"].items():
        a, b = (f"{row[j]['total']:9.0f} {row[j]['reward']:.3f}" for j in "AB")
        minus = row["B"]["minus"].get("greedy on A")
        beats = "[{low:+.3f}, {high:+.3f}]".format(**minus) if minus else ""
        print(f"  {name:22} A {a}  B {b}  gap {row['gap']:+.3f}  B - greedy {beats}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m", choices=list(BUDGETS))
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--streak", nargs="+", type=float, default=[0.0, 0.1])
    parser.add_argument(
        "--no-bandits",
        action="store_true",
        help="leave out LinUCB and HLinUCB, which take longer than a training",
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    world = World(Interactions.from_ratings(load_ratings(options.root / options.dataset)))
    RESULTS.mkdir(parents=True, exist_ok=True)
    warm_starts = {seed: {} for seed in options.seeds}
    for streak in options.streak:
        about = {"dataset": options.dataset, "streak": streak, "steps": STEPS, "given": GIVEN}
        stem = f"{options.dataset}-streak-{streak:g}"
        beside = world.baselines(streak, bandits=not options.no_bandits)
        rows = {name: world.figures(found, beside) for name, found in beside.items()}
        write(RESULTS / f"{stem}-baselines.json", about | {"rows": rows})
        for seed in options.seeds:
            path = RESULTS / f"{stem}-{seed}.json"
            if path.exists():
                continue
            settings = agents(BUDGETS[options.dataset], seed)
            found, seconds = learn(world, settings, streak, warm_starts[seed])
            reference = beside | found
            about |= {
                "seed": seed,
                "settings": {name: asdict(each) for name, each in settings.items()},
                "training_cpu_seconds": seconds,
                "torch": torch.__version__,
                "rows": {n: world.figures(results, reference) for n, results in found.items()},
            }
            write(path, about)


if __name__ == "__main__":
    main()
