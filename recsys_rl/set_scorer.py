"""DRR-set beside a Gaussian of likes, scored with numpy: what the released agents answer with.

The form that is trained is `states.drr_set`, `states.linear` and `baselines.gaussian`, whose names
and sources hold here, too; a test holds the two forms together. This file needs no PyTorch.

B = batch, S = answers, V = n_items, k = width of the sets, p = width of the Gaussian.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from recsys_rl.data.notes import written
from recsys_rl.release_files import Shapes

EMBEDDING_STD = 0.05  # of the item vectors at first
NORM_EPSILON = 1e-5  # of PyTorch's LayerNorm
GAUSSIAN, NOISE = "linear.model.item_vectors", "linear.model.noise"


class Answers(NamedTuple):
    """What one person has said, as indices of items, oldest first."""

    liked: Sequence[int]
    rejected: Sequence[int] = ()


def check_answers(people: Sequence[Answers], n_items: int) -> None:
    """ValueError unless all are indices of items, and nobody has answered for one twice."""
    for answers in people:
        places = [place for part in answers for place in part]
        try:
            places = list(map(operator.index, places))  # numpy's and PyTorch's, too
        except TypeError:
            raise ValueError(f"answers are indices of items, not {written(places)}") from None
        if not all(0 <= each < n_items for each in places):
            raise ValueError(
                f"answers are indices within 0 .. {n_items - 1}, not {written(places)}"
            )
        if len(set(places)) < len(places):
            raise ValueError(f"an item is answered for once, and not twice: {written(places)}")


class SetScorer:
    """weights: the tensors of a release, by name; n: how many likes and rejections count."""

    def __init__(self, weights: Mapping[str, np.ndarray], n: int) -> None:
        self.n = n
        # in single precision the form that is trained is off by up to 3e-5; here nothing is
        self.layers = {k: v.astype(np.float64) for k, v in weights.items() if "vectors" not in k}
        self.gaussian = weights[GAUSSIAN]  # (V, p)
        self.items = weights["state.item_vectors.weight"][:-1]  # (V, k + 1), less padding

    def scores(self, people: Sequence[Answers]) -> np.ndarray:
        """Scores of all items for every person -> float32 [B, V].

        Raises numpy.linalg.LinAlgError where the weights are no numbers to compute with.
        """
        action = np.empty((len(people), self.items.shape[1]))
        user = np.empty((len(people), self.gaussian.shape[1]))
        for row, answers in enumerate(people):
            answers = Answers(*(list(part)[-self.n :] for part in answers))
            action[row] = self._action(answers)
            user[row] = self._gate(answers) * self._user_vector(answers)
        return (action @ self.items.T + user @ self.gaussian.T).astype(np.float32)

    def _action(self, answers: Answers) -> np.ndarray:
        """DRR-set -> [k + 1], 1 for the bias of an item."""
        (liked, n_liked), (rejected, n_rejected) = map(self._summary, answers)
        # a further input of the first layer, how much of a session is over, is 0 here
        x = self._linear("read", np.concatenate([liked, rejected, n_liked, n_rejected]))
        wide = self._linear("widen", self._norm("inner_norm", x))
        x = x + self._linear("narrow", _silu(wide))
        action = self._linear("out", self._norm("norm", x))
        return np.append(action + self.layers["state.skip_weight"] * liked, 1)

    def _summary(self, items: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """10 sum / sqrt(count), [k], and (log(1 + count) - 2) / 2, [1]."""
        total = self.items[list(items), :-1].sum(0, np.float64)
        scale = 0.5 / EMBEDDING_STD / np.sqrt(max(1, len(items)))
        return total * scale, np.array([(np.log1p(len(items)) - 2) / 2])

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        weight, bias = self.layers[f"state.{name}.weight"], self.layers[f"state.{name}.bias"]
        return weight[:, : len(x)] @ x + bias

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        weight, bias = self.layers[f"state.{name}.weight"], self.layers[f"state.{name}.bias"]
        return (x - x.mean()) / np.sqrt(x.var() + NORM_EPSILON) * weight + bias

    def _gate(self, answers: Answers) -> float:
        """How much the Gaussian counts after so many answers."""
        share = sum(map(len, answers)) / self.n
        gate = self.layers["linear.gate"]
        return sum(weight * share**power for power, weight in enumerate(gate))

    def _user_vector(self, answers: Answers) -> np.ndarray:
        """The posterior mean of the Gaussian's z, and a 1 for the mean -> [p]."""
        place = [*answers.liked, *answers.rejected]  # (S,)
        known = self.gaussian[place].astype(np.float64)  # (S, p)
        x, mean = known[:, :-1], known[:, -1]
        kernel = x @ x.T + np.diag(self.layers[NOISE][place])  # (S, S)
        surprise = np.repeat([1.0, 0.0], list(map(len, answers))) - mean
        lower = np.linalg.cholesky(kernel)
        weight = np.linalg.solve(lower.T, np.linalg.solve(lower, surprise))
        return np.append(x.T @ weight, 1.0)


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def gaussian_width(claimed: int, n_items: int) -> int:
    """Of its item vectors: the shares and 0 to n_items components, whatever a file claims."""
    return min(max(1, claimed), n_items + 1)


def expected_shapes(k: int, n_items: int, found: Shapes) -> Shapes:
    """The tensors that the weights have; the width of the Gaussian, and whether the first layer
    reads how much of a session is over, is what the file claims."""

    def claimed(name: str, default: int) -> int:
        shape = found.get(name, ("", []))[1]
        return shape[1] if len(shape) == 2 else default

    hidden = 2 * k
    read = 2 * k + 2
    if claimed("state.read.weight", read) == read + 1:
        read += 1
    shapes = {
        GAUSSIAN: [n_items, gaussian_width(claimed(GAUSSIAN, 1), n_items)],
        NOISE: [n_items],
        "linear.gate": [2],
        "state.item_vectors.weight": [n_items + 1, k + 1],
        "state.skip_weight": [],
    }
    layers = {"read": (hidden, read), "widen": (2 * hidden, hidden), "narrow": (hidden, 2 * hidden)}
    for name, (rows, columns) in (layers | {"out": (k, hidden)}).items():
        shapes |= {f"state.{name}.weight": [rows, columns], f"state.{name}.bias": [rows]}
    for name in ("inner_norm", "norm"):
        shapes |= {f"state.{name}.weight": [hidden], f"state.{name}.bias": [hidden]}
    return {name: ("F32", shape) for name, shape in shapes.items()}
