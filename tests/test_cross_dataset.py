"""Users of another data set meet the catalogue that the agent knows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks import cross_dataset
from recsys_rl.data.interactions import IdMap


def test_users_of_another_data_set_keep_the_films_that_the_catalogue_has():
    ratings = pd.DataFrame({
        "user": [7, 7, 9], "item": [30, 10, 99], "rating": [4.5, 1.0, 5.0], "timestamp": [2, 1, 1]
    })  # fmt: skip
    users = cross_dataset.of_catalogue(ratings, IdMap(np.array([10, 20, 30])))
    assert users.n_items == 3
    assert users.item_ids.id(users.item).tolist() == [10, 30]  # by time; 99 is nowhere
    assert users.rating.tolist() == [1.0, 4.5]
    assert users.n_users == 1
