"""Forked processes compute and never wait, whatever their parent has computed before."""

from __future__ import annotations

import os
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


def printed(code: str, *arguments: str) -> str:
    """What a new Python prints; a hang is an error after a while."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
    )
    return done.stdout.strip()


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
