"""Two worlds of simulated users: one to train in, one to be judged in."""

from __future__ import annotations

from typing import NamedTuple

from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.envs.rating_models import NeighbourRatings, refuse_neighbours, two_halves
from recsys_rl.envs.simulated import Simulator, refuse_simulator


class Simulators(NamedTuple):
    """Two worlds fitted on different halves of the ratings; log: the rows of A, pmf: its model."""

    a: Simulator
    b: Simulator
    log: Interactions
    pmf: PMF


def simulators(data: Interactions, k: int = 100) -> Simulators:
    refuse_simulator(data.n_users, data.n_items, worlds=2)  # before PMF is fitted
    refuse_neighbours(data.n_items)
    log, other_half = two_halves(data)
    generator = generator_on(CPU, 0)
    pmf = PMF(data.n_users, data.n_items, k, generator=generator, device=data.user.device)
    pmf.fit(log, generator=generator)
    a = Simulator.of(pmf.score, log)
    b = Simulator.of(NeighbourRatings(other_half).score, other_half)
    return Simulators(a, b, log, pmf)
