"""Trains agents over several seeds and judges them under every protocol; one small JSON a run.

    python benchmarks/study.py --dataset ml-1m --agents DRR-ave DRR-seq --seeds 0 1 2 3 4

Each run lands in benchmarks/results/runs/<dataset>-<split>-<agent>-<seed>.json: settings, seconds,
rewards, and the figures of both stages on the test part with the interval over people. A run whose
file is there is not made again. The split of the data is the same for all seeds.

Splits: "leave-one-out" (protocols A, B), "positives" (C), "ratings" (D), "people" (E, and sessions
with strangers, whose rewards are kept person by person), "time" (G). "people-1", "people-2" ...
hold out other people: some groups are much easier to please than others. "people-half" trains on
every second person only, "people-more" on the validation people too, and has none to validate on.
"""

import argparse
import copy
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch

from recsys_rl.agent.config import Settings
from recsys_rl.agent.ddpg import DDPG, Start
from recsys_rl.agent.replay import Transitions
from recsys_rl.baselines import ease, popularity
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.splits import (
    in_two_circles,
    leave_one_out,
    random_split,
    split_by_time,
    split_users,
)
from recsys_rl.embeddings.als import ALS
from recsys_rl.embeddings.cooccurrence import Cooccurrence, like_vectors
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.evaluation import metrics, protocols, scores, statistics
from recsys_rl.evaluation.sessions import sessions_with_strangers
from recsys_rl.states.linear import LikesRidge

RESULTS = Path(__file__).parent / "results" / "runs"
Judge = Callable[[scores.ScoreFunction], dict[str, statistics.Evaluation]]

PROBED = ("DRR-ave",)  # agents that are judged with parts taken away, too: see `probes`
TRUST_PUT_BACK = "imitation, trust put back"
# Of the linear models that DRR-set may read.
ALS_WIDTH, PMF_WIDTH, RIDGE_WIDTH, GAUSSIAN_WIDTH = 64, 100, 32, 256
ANSWER_NOISE = {"ml-100k": 0.1, "ml-1m": 0.02}  # best on validation people for it alone, k = 1024

# Updates of (imitation, DDPG); for DRR-seq (epochs, DDPG).
BUDGETS = {
    "ml-100k": {
        "drr": (1000, 400),
        "seq": (12, 100),
        "set": (500, 200),
        "short": (500, 200),
        "ridge": (500, 500),
    },
    "ml-1m": {
        "drr": (4000, 800),
        "seq": (8, 300),
        "set": (5000, 1200),
        "short": (2500, 600),  # of variants that need not be trained to the end to be compared
        "ridge": (2500, 1500),
    },
}
# Splits by rows: the agent starts from most of what a person rated, and a session shows what the
# split will ask for. Chosen on a part of the train rows.
LONG = {
    "given": 0.8,
    "n": 1500,
    "capacity": 20_000,
    "ddpg_updates": 200,
    "critic_warmup": 50,
    "cloning": 1.0,
    "actor_lr": 1e-4,
}
SESSIONS = {
    "positives": LONG | {"horizon": 1, "hit": 0.0, "imitation_updates": 1000, "profile": "als"},
    "ratings": LONG
    | {"horizon": 10, "hit": 10.0, "imitation_updates": 1000, "candidates": "rated"}
    | {"profile": "pmf"},
}


def agents(dataset: str, split: str, per_epoch: int) -> dict[str, Settings]:
    """The agents by name; the notebook trains DRR-ave, DRR-seq, pure-DDPG and DRR-set."""
    budget = BUDGETS[dataset]
    (imitation, ddpg), (epochs, seq_ddpg) = budget["drr"], budget["seq"]
    (set_imitation, set_ddpg), (ridge_imitation, ridge_ddpg) = budget["set"], budget["ridge"]
    short_imitation, short_ddpg = budget["short"]
    ave = Settings(imitation_updates=imitation, ddpg_updates=ddpg)
    seq = Settings(
        state="seq",
        k=96,
        n=200,
        weight_decay=0.01,
        demonstrations=1024,
        imitation_updates=epochs * per_epoch,
        imitation_lr=4e-3,
        evaluate_every=1000,
        ddpg_updates=seq_ddpg,
        batch_size=128,
        sessions=256,
        session_memory=50,
        critic_reads="actor",
        critic_warmup=seq_ddpg // 3,
    )
    ridge = Settings(
        state="set",
        k=128,
        n=43,
        horizon=40,
        weight_decay=0.01,
        vectors_lr=0.05,
        imitate="own",
        imitation_updates=ridge_imitation,
        imitation_lr=2e-3,
        ddpg_updates=ridge_ddpg,
        sessions=512,
        batch_size=256,
        actor_lr=3e-4,
        profile="ridge",
        critic="bilinear",
        critic_warmup=ridge_ddpg // 10,
        cloning=0.02,
        replay="uniform",
    )
    gaussian = replace(
        ridge,
        profile="gaussian",
        answer_noise=ANSWER_NOISE[dataset],
        imitation_updates=set_imitation,
        ddpg_updates=set_ddpg,
        gamma=0.95,
        actor_lr=2e-4,
        trust_pace=200.0,
        critic_warmup=set_ddpg // 6,
        critic_dropout=True,
    )
    own = gaussian if split.startswith("people") else replace(ridge, **SESSIONS.get(split, {}))
    gentle = own  # DDPG made for a trust that is put back; chosen on validation people
    if own.profile == "gaussian":
        gentle = replace(own, trust_put_back=True, trust_pace=0.0, actor_lr=3e-5)
    brief = {"critic_warmup": short_ddpg // 6, "ddpg_updates": short_ddpg}
    short = replace(own, imitation_updates=short_imitation, **brief)
    back = replace(short, unmet=0.15)  # DDPG plays with people whom the warm start has not met
    bare = replace(ridge, profile="", actor_lr=1e-3)
    if split in SESSIONS:
        bare = replace(own, profile="")
    return {
        "DRR-set": own,
        "set-gamma-0": replace(own, gamma=0.0),
        "set-no-critic": replace(own, guidance=0.0),
        "set-put-back": replace(own, trust_put_back=own.profile == "gaussian"),
        "set-gentle": gentle,
        "gentle-gamma-0": replace(gentle, gamma=0.0),
        "set-short": short,
        "short-gamma-0": replace(short, gamma=0.0),
        "short-no-critic": replace(short, guidance=0.0),
        "set-short-longer": replace(short, ddpg_updates=3 * short_ddpg),
        "set-held-back": back,
        "held-back-gamma-0": replace(back, gamma=0.0),
        "held-back-no-critic": replace(back, guidance=0.0),
        "set-ridge": ridge,
        "set-no-profile": bare,
        "no-profile-no-critic": replace(bare, guidance=0.0),
        "set-likes-only": replace(bare, state="likes"),
        "DRR-ave": ave,
        "DRR-p": replace(ave, state="p"),
        "DRR-u": replace(ave, state="u"),
        "DRR-att": replace(ave, state="att"),
        "DRR-seq": seq,
        "pure-DDPG": replace(ave, imitation_updates=0, cloning=0.0),
        "gamma-0": replace(ave, gamma=0.0),
        "uniform-replay": replace(ave, replay="uniform"),
        "no-noise": replace(ave, epsilon=0.0),
        "ou-noise": replace(ave, epsilon=0.0, ou_sigma=0.2),
        "n-1": replace(ave, n=1),
        "n-10": replace(ave, n=10),
        "n-20": replace(ave, n=20),
        "random-vectors": replace(ave, vectors="random"),
        "frozen-vectors": replace(ave, vectors="frozen"),
    }


def rivals(split: str, log: Interactions) -> dict[str, scores.ScoreFunction]:
    """What the agent is compared with person by person; settings chosen on a part of `log`."""
    if split == "positives":
        return {"popularity": popularity.Popularity(log), "EASE": ease.EASE(log, 1000.0)}
    if split == "ratings":
        generator = torch.Generator().manual_seed(0)
        pmf = PMF(log.n_users, log.n_items, 100, generator=generator, l2=0.07)
        pmf.fit(log, generator=generator)
        return {"EASE": ease.EASE(log, 500.0, min_rating=POSITIVE), "PMF": pmf.score}
    if re.fullmatch(r"people-\d", split):
        return {"popularity": popularity.Popularity(log, POSITIVE)}
    return {}


def task(data: Interactions, name: str) -> tuple[Interactions, Judge | None, Judge]:
    """A split -> (train rows, judge on validation or None, judge on test)."""
    if name == "leave-one-out":
        split = leave_one_out(data)

        def judge(part: str) -> Judge:
            history, target = protocols.ranking_task(split, part)
            negatives = protocols.sample_negatives(
                data, target.user, generator=torch.Generator().manual_seed(3)
            )
            return lambda score: {
                "AB": protocols.leave_one_out_metrics(score, history, target, negatives)
            }

        return split.train, judge("validation"), judge("test")
    if name == "positives":
        split = protocols.random_positive_split(data)
        negatives = protocols.sample_negatives(
            split.train.concat(split.test),
            split.test.user,
            generator=torch.Generator().manual_seed(3),
        )
        test = lambda score: {  # noqa: E731
            "C": protocols.random_positive_metrics(score, split.train, split.test, negatives)
        }
        return split.train, None, test
    if name == "ratings":
        split = random_split(data)
        test = lambda score: {
            "D": protocols.offline_reranking(score, split.train, split.test).model
        }  # noqa: E731
        return split.train, None, test
    if name.startswith("people"):
        number = re.sub(r"\D", "", name)
        generator = torch.Generator().manual_seed(int(number or 0))
        met, validation, test = split_users(data.n_users, generator=generator)
        if name == "people-half":
            met = met[::2]
        elif name == "people-more":
            met = torch.cat([met, validation])

        def judge(users: torch.Tensor) -> Judge:
            people = data.select(torch.isin(data.user, users))
            return lambda score: {
                "E": protocols.three_in_three_out(score, people),
                "sessions": sessions_with_strangers(score, people),
            }

        train = data.select(torch.isin(data.user, met))
        return train, None if name == "people-more" else judge(validation), judge(test)
    if name == "time":
        split = split_by_time(data)
        history, target = split.train.concat(split.validation), split.test
        return (
            split.train,
            lambda score: {
                "G": protocols.global_time_metrics(score, split.train, split.validation)
            },
            lambda score: {"G": protocols.global_time_metrics(score, history, target)},
        )
    raise ValueError(f"unknown split {name!r}")


def train(agent: DDPG, log: Interactions, watch: Callable[[int, dict], None], warm: dict) -> dict:
    """The notebook's loop without its checkpoints; `watch` is called before each update.

    warm: agent and sessions as a finished stage 1 left them, or {}, which is then filled in.
    Returns the actor's weights after stage 1.
    """
    settings, report = agent.settings, {}
    begun, cpu = time.perf_counter(), time.process_time()
    environment, demonstrations = agent.play(log)
    parts = {"agent": agent, "environment": environment}
    if hasattr(demonstrations, "state_dict"):  # `Moments` draws from the environment
        parts["demonstrations"] = demonstrations
    for name, part in parts.items() if warm else ():
        part.load_state_dict(warm[name])
    while agent.imitated < settings.imitation_updates:
        watch(agent.imitated, report)
        report = agent.imitate(next(demonstrations))
    if not warm:
        warm |= {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
        warm["spent"] = time.perf_counter() - begun, time.process_time() - cpu
    after_imitation = {n: w.clone() for n, w in agent.actor.state_dict().items()}
    replay = agent.memory()
    agent.start_ddpg()
    while agent.updated < settings.ddpg_updates:
        watch(settings.imitation_updates + agent.updated, report)
        if environment.over:
            environment.reset()
            agent.noise.reset()
        before = environment.observation()
        after, reward, terminated, _, info = environment.step(agent.explore(agent.act(before)))
        live = info["active"]
        replay.add(Transitions.of(before, info["item"], reward, after, terminated, live))
        batch, weights, places = replay.sample(settings.batch_size, agent.generator)
        report, td_error = agent.update(batch, weights, next(demonstrations))
        replay.update_priorities(places, td_error)
        report["reward"] = float(reward[live].mean())
    watch(settings.imitation_updates + agent.updated, report)
    return after_imitation


def figures(judged: dict[str, statistics.Evaluation], counts: torch.Tensor) -> dict:
    """Means, intervals over people and what the lists are made of, protocol by protocol."""
    return {
        protocol: {
            "mean": result.mean(),
            "interval": result.interval(),
            "lists": metrics.list_statistics(result.top, counts),
        }
        | ({"people": by_person(result)} if protocol == "sessions" else {})
        for protocol, result in judged.items()
    }


def comparison(ours: statistics.Evaluation, theirs: statistics.Evaluation) -> dict:
    """A rival's figures, and ours minus theirs over the same people: mean, low, high."""
    gains = {name: ours.compare(theirs, name)[:3] for name in theirs.metrics}
    return {"mean": theirs.mean(), "interval": theirs.interval(), "ours_minus": gains}


def by_person(result: statistics.Evaluation) -> dict[str, list[float]]:
    """Each person's rewards, for paired intervals over several seeds."""
    names = [name for name in result.metrics if name.startswith("reward@")]
    return {name: result.metrics[name].round(5).tolist() for name in names}


def start_of(settings: Settings, log: Interactions, generator: torch.Generator) -> Start:
    """What the state's vectors start from."""
    if settings.state == "seq":
        return Cooccurrence(log, settings.k, generator)
    if settings.imitate == "own":
        log, _ = in_two_circles(log, settings.unmet, settings.seed)
        likes = log.select(log.rating >= POSITIVE)
        start = Cooccurrence(likes, settings.k, generator, reach=None)
        if settings.profile == "als":
            start.linear = ALS(log, ALS_WIDTH, generator=generator)
        elif settings.profile == "pmf":
            start.linear = PMF(log.n_users, log.n_items, PMF_WIDTH, generator=generator)
            start.linear.fit(log, generator=generator)
        elif settings.profile == "ridge":
            start.linear = LikesRidge(*like_vectors(log, RIDGE_WIDTH, generator))
        elif settings.profile == "gaussian":
            start.linear = GaussianLikes.fit(log, GAUSSIAN_WIDTH, generator, settings.answer_noise)
        return start
    pmf = PMF(log.n_users, log.n_items, settings.k, generator=generator)
    pmf.fit(log, generator=generator)
    return pmf


def probes(
    agent: DDPG, untrained: scores.ScoreFunction, log: Interactions
) -> dict[str, scores.ScoreFunction]:
    """The agent, with something taken away from it when it is judged."""
    generator = own_stream(agent.settings.seed, "shuffled histories")

    def nothing(histories: Histories) -> torch.Tensor:
        return agent.score(
            Histories(
                histories.user,
                torch.full_like(histories.item[:, :1], log.n_items),
                torch.zeros_like(histories.rating[:, :1]),
            )
        )

    def shuffled(histories: Histories) -> torch.Tensor:
        keys = torch.rand(histories.item.shape, generator=generator)
        order = keys.masked_fill_(histories.item == log.n_items, -1.0).argsort(1)
        columns = histories.item.gather(1, order), histories.rating.gather(1, order)
        return agent.score(Histories(histories.user, *columns))

    same = agent.score(log.histories(torch.zeros(1, dtype=torch.int64)))
    return {
        "untrained": untrained,
        "no history": nothing,
        "history shuffled": shuffled,
        "one person's action for all": lambda histories: same.expand(len(histories), -1),
    }


def warm_stages(agent: DDPG, warm: dict) -> Iterator[tuple[str, scores.ScoreFunction]]:
    """The actor after stage 1; and with the trust of before it, where stage 2 learns that faster.

    The second shows how much of what stage 2 brings is that trust.
    """
    agent.actor.load_state_dict(warm)
    yield "imitation", agent.score
    if agent.settings.trust_pace != 1:
        agent.actor.state.put_back_trust()
        yield TRUST_PUT_BACK, agent.score


def stage_one(settings: Settings) -> Settings:
    """Equal for two agents whose first stages are the same."""
    settings = replace(settings, gamma=0.0, guidance=1.0, replay="uniform", trust_put_back=False)
    if settings.imitate == "own":  # there the agent explores in stage 1 already
        return settings
    return replace(settings, epsilon=0.0, ou_sigma=0.0)


def run(
    data: Interactions,
    options: argparse.Namespace,
    split: str,
    name: str,
    seed: int,
    warm_starts: dict,
) -> dict:
    """warm_starts: what earlier runs left to those with the same stage 1; holds the latest only."""
    log, on_validation, on_test = task(data, split)
    per_epoch = -(-int((log.offsets.diff() - 1).clamp(min=0).sum()) // 1024)
    settings = replace(agents(options.dataset, split, per_epoch)[name], seed=seed)
    begun, cpu = time.perf_counter(), time.process_time()
    generator = torch.Generator().manual_seed(seed)
    start = start_of(settings, log, generator)
    agent = DDPG(settings, log.n_users, log.n_items, start)
    rewards = []
    key = split, stage_one(settings)
    left = warm_starts.get(key, {})
    warm_starts.clear()
    warm_starts[key] = left
    earlier = left.get("spent", (0.0, 0.0))
    warm = train(agent, log, lambda _, report: rewards.append(report.get("reward")), left)
    seconds = time.perf_counter() - begun + earlier[0]
    cpu = time.process_time() - cpu + earlier[1]
    counts = torch.bincount(log.item, minlength=log.n_items)
    judged, validation = on_test(agent.score), {}
    stages = {"DDPG": figures(judged, counts)}
    against = {
        rival: {protocol: comparison(judged[protocol], result) for protocol, result in r.items()}
        for rival, r in ((label, on_test(model)) for label, model in rivals(split, log).items())
    }
    if on_validation is not None:
        validation = {p: result.mean() for p, result in on_validation(agent.score).items()}
    if name in PROBED:
        untrained = DDPG(settings, log.n_users, log.n_items, start).score
        for probe, score in probes(agent, untrained, log).items():
            stages[probe] = figures(on_test(score), counts)
    for stage, score in warm_stages(agent, warm):
        stages[stage] = figures(on_test(score), counts)
    rewards = [r for r in rewards if r is not None]
    tenth = max(1, len(rewards) // 10)
    return {
        "dataset": options.dataset,
        "split": split,
        "agent": name,
        "seed": seed,
        "settings": asdict(settings),
        "training_seconds": round(seconds, 1),
        "training_cpu_seconds": round(cpu, 1),
        "threads": options.threads,
        "torch": torch.__version__,
        "reward_first_tenth": sum(rewards[:tenth]) / tenth,
        "reward_last_tenth": sum(rewards[-tenth:]) / tenth,
        "validation": validation,
        "test": stages,
        "rivals": against,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m", choices=list(BUDGETS))
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--agents", nargs="+", default=["DRR-ave", "DRR-seq"])
    parser.add_argument("--splits", nargs="+", default=["leave-one-out"])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
    RESULTS.mkdir(parents=True, exist_ok=True)
    warm_starts = {}
    for seed in options.seeds:
        for split in options.splits:
            for name in options.agents:
                path = RESULTS / f"{options.dataset}-{split}-{name}-{seed}.json"
                if path.exists():
                    continue
                result = run(data, options, split, name, seed, warm_starts)
                temporary = path.with_suffix(".tmp")
                temporary.write_text(json.dumps(result, indent=1) + "\n")
                temporary.replace(path)
                shown = {
                    protocol: {n: round(v, 4) for n, v in f["mean"].items() if "step@" not in n}
                    for protocol, f in result["test"]["DDPG"].items()
                }
                print(path.name, result["training_cpu_seconds"], shown, flush=True)


if __name__ == "__main__":
    main()
