"""What learns, by name: agent, networks, states, replay, environments, the released agent.

This file is a door, without logic of its own; everything lives in the package `recsys_rl`.
"""

from recsys_rl.agent.checkpoint import Interruptible, load_checkpoint, save_checkpoint
from recsys_rl.agent.config import Settings
from recsys_rl.agent.ddpg import DDPG, Start
from recsys_rl.agent.demonstrations import Moments, Window, Windows
from recsys_rl.agent.exploration import OUNoise
from recsys_rl.agent.networks import Actor, Critic
from recsys_rl.agent.replay import PrioritizedReplayBuffer, ReplayBuffer, Transitions
from recsys_rl.agent.sum_tree import SumTree
from recsys_rl.data.interactions import IdMap
from recsys_rl.data.observation import Observation
from recsys_rl.data.rewards import paper_reward
from recsys_rl.embeddings.cooccurrence import Cooccurrence
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.envs.logged import LoggedSessions, RecommendationEnv
from recsys_rl.serving import Recommender, release
from recsys_rl.states.base import State
from recsys_rl.states.drr import DRRatt, DRRave, DRRp, DRRu
from recsys_rl.states.drr_seq import DRRseq
from recsys_rl.states.registry import STATES

__all__ = [
    "Actor",
    "Cooccurrence",
    "Critic",
    "DDPG",
    "DRRatt",
    "DRRave",
    "DRRp",
    "DRRseq",
    "DRRu",
    "IdMap",
    "Interruptible",
    "LoggedSessions",
    "Moments",
    "OUNoise",
    "Observation",
    "PMF",
    "PrioritizedReplayBuffer",
    "RecommendationEnv",
    "Recommender",
    "ReplayBuffer",
    "STATES",
    "Settings",
    "Start",
    "State",
    "SumTree",
    "Transitions",
    "Window",
    "Windows",
    "load_checkpoint",
    "paper_reward",
    "release",
    "save_checkpoint",
]
