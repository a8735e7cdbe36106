"""How fast the environment steps, alone and with the updates of stage 2, at the default settings.

    python benchmarks/speed.py --dataset ml-1m --threads 2

Prints transitions a second of the environment alone and of the whole loop (acting, stepping,
storing, one prioritized draw, one update of critic, actor and targets a step), and the update
ratio: transitions learned from for each one played. The vectors are random: that costs the same.
"""

import argparse
import time
from pathlib import Path

import torch

from recsys_rl.agent.config import Settings
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.replay import Transitions
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.splits import leave_one_out


def play(agent: DDPG, log: Interactions, steps: int, learn: bool) -> float:
    """Transitions a second over `steps` steps of the batch of sessions."""
    sessions, demonstrations = agent.play(log)
    replay, played, begun = agent.memory(), 0, time.perf_counter()
    for _ in range(steps):
        if sessions.over:
            sessions.reset()
            agent.noise.reset()
        before = sessions.observation()
        after, reward, terminated, _, info = sessions.step(agent.explore(agent.act(before)))
        live = info["active"]
        played += int(live.sum())
        if learn:
            replay.add(Transitions.of(before, info["item"], reward, after, terminated, live))
            batch, weights, places = replay.sample(agent.settings.batch_size, agent.generator)
            _, td_error = agent.update(batch, weights, next(demonstrations))
            replay.update_priorities(places, td_error)
    return played / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    log = leave_one_out(Interactions.from_ratings(load_ratings(options.root / options.dataset)))
    settings = Settings(vectors="random", critic_warmup=0)
    agent = DDPG(settings, log.train.n_users, log.train.n_items)
    play(agent, log.train, 10, learn=True)  # warm-up
    alone = play(agent, log.train, options.steps, learn=False)
    whole = play(agent, log.train, options.steps, learn=True)
    ratio = settings.batch_size / settings.sessions
    print(f"{options.dataset}, {options.threads} threads, {settings.sessions} sessions")
    print(f"environment and actor alone: {alone:,.0f} transitions/s")
    print(f"with updates: {whole:,.0f} transitions/s, update ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
