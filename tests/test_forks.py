"""Forked processes compute and never wait, whatever their parent has computed before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

PARENT = """
import multiprocessing, os, sys
import torch
import recsys_rl

torch.set_num_threads(2)
x = torch.randn(700, 700)
x @ x, x.exp()  # both threads run

def work(queue):
    y = torch.randn(700, 700)
    queue.put((torch.get_num_threads(), (y @ y).exp().shape == (700, 700)))

context = multiprocessing.get_context("fork")
queue = context.Queue()
children = [context.Process(target=work, args=(queue,)) for _ in range(2)]
[child.start() for child in children]
print([queue.get(timeout=20) for _ in children], torch.get_num_threads())
[child.join() for child in children]
"""

MODEL = """
import os, sys
import numpy as np, torch
from recsys_rl.serving import Recommender

torch.set_num_threads(2)
model = Recommender.load(sys.argv[1])
liked = model.item_ids[:3].tolist()
ours = model.recommend(liked)
torch.zeros(3_000_000).add_(1).sum()
reader, writer = os.pipe()
if not os.fork():
    many = model.scores([liked] * 600)  # large enough for several threads
    os.write(writer, repr((model.recommend(liked) == ours, many.shape[0])).encode())
    os._exit(0)
print(os.read(reader, 99).decode())
"""


ENVIRONMENTS = """
import gymnasium, numpy as np, torch
from recsys_rl.envs.registration import ID, item_vectors
from toys import random_log

torch.set_num_threads(2)
users = random_log(400, 300)
vectors = item_vectors(users, 5)
torch.ones(1000, 1000) @ torch.ones(1000, 1000), torch.zeros(3_000_000).add_(1)  # both threads run
steps = []
for mode in ("async", "sync"):
    envs = gymnasium.make_vec(ID, 2, vectorization_mode=mode, users=users, vectors=vectors)
    info = envs.reset(seed=0)[1]
    steps.append([info["user"].tolist()])
    for _ in range(5):
        seen, *rest, info = envs.step(np.ones((2, 5), np.float32))
        steps[-1].append([seen["memory"].tolist(), *(part.tolist() for part in rest)])
    envs.close()
print(steps[0] == steps[1], torch.get_num_threads())
"""


def printed(code: str, *arguments: str) -> str:
    """What a new Python prints. A hang is an error after a while, and leaves no process behind."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=40)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    assert process.returncode == 0
    return out.strip()


def test_a_forked_process_computes_with_one_thread() -> None:
    assert printed(PARENT) == "[(1, True), (1, True)] 2"


def test_a_model_that_was_loaded_before_the_fork_answers_after_it() -> None:
    assert printed(MODEL, str(ROOT / "models" / "ml-100k")) == "(True, 600)"


def test_a_fork_without_torch_loads_nothing() -> None:
    code = """
import os, sys, recsys_rl
if not os.fork():
    print("torch" in sys.modules, flush=True)
    os._exit(0)
os.wait()
"""
    assert printed(code) == "False"


def test_environments_step_in_processes_of_their_own() -> None:
    """Gymnasium's vector of environments forks its workers; they step as those of one process."""
    assert printed(ENVIRONMENTS) == "True 2", "and the parent keeps its threads"


def test_a_child_has_one_thread_however_many_are_asked_for() -> None:
    code = """
import os, sys
from recsys_rl.data import forks
print(forks.allowed_threads(4), flush=True)
if not os.fork():
    print(forks.allowed_threads(4), flush=True)
    os._exit(0)
os.wait()
"""
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert told.stdout.split() == [b"4", b"1"]
