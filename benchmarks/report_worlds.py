"""The sections of docs/results.md on worlds with consequences.

The tables: `report_tables.py` and the worlds' own modules.
"""

from __future__ import annotations

import pandas as pd

from benchmarks import all_worlds, consequences
from benchmarks.report_elicitation import askers_table, gains_table
from benchmarks.report_form import Section, study
from benchmarks.report_tables import (
    LEAVING,
    bored,
    bored_gains,
    leaving,
    leaving_gains,
    turns_of_rivals,
)
from recsys_rl.experiments import NAMES


def of_worlds() -> Section:
    """All worlds side by side."""
    return Section(
        "All worlds",
        "Data set ml-1m, and the simulator of SARDINE; test users, training seeds in the last "
        "column; what a session earns, or the share of it that is liked. One section below for "
        "each world.",
        ["-m benchmarks.report"],
        "*Share of the way*: from the greedy policy (0) to the oracle (1), which are others in "
        "each world ([worlds](worlds.md)); *Q off by*: relative error of the critic's mean at the "
        "first, the middle and the last step. "
        "Intervals are over seeds and users, with one seed over users.",
        all_worlds.table(),
    )


def of_leaving_users() -> list[Section]:
    """A world with consequences: what is shown decides how long a session lasts."""
    names = [agent.name for agent in LEAVING if agent.name in NAMES]
    measured = (
        "Data set ml-1m, split and protocol user-leaves (see [worlds](worlds.md)), 483 test users, "
        "one session each; 5 training seeds for agents, 3 for those of Stable-Baselines3 (SB3), "
        "which have its defaults and 560,000 turns or ten minutes of one core, whichever came "
        f"first ({turns_of_rivals('ml-1m')})."
    )
    commands = [
        study("ml-1m", "user-leaves", *names),
        study("ml-1m", "user-leaves-model", "user-leaves-noise-10"),
        "-m benchmarks.worlds user-leaves --record",
        "-m benchmarks.user_leaves_rivals --agent A2C --seed 0",
    ]
    note = (
        "*Return* is the sum of the ratings until the user leaves, 30 films at most; rows that "
        "know the rule or the user say what there is to be had. For the environment of EasyRL4Rec "
        "(arXiv 2402.15164), which is remade here, so that its figures stand beside these and are "
        "no rivals of theirs, DDPG 9.4, A2C 32.4 and DORL 45.8 are published."
    )
    return [
        Section("Users who leave", measured, commands, note, leaving("ml-1m")),
        Section(
            "Users who leave: DDPG minus others",
            measured,
            commands,
            "Differences of the return.",
            leaving_gains("ml-1m"),
        ),
    ]


def of_bored_users() -> list[Section]:
    """A world with consequences that others made."""
    measured = (
        "SARDINE's SlateTopK-Bored (see [worlds](worlds.md)), split and protocol sardine, 100 test "
        "users, one session of 100 slates each; 3 training seeds for agents."
    )
    commands = [
        "-m benchmarks.worlds sardine --record",
        *(
            f"-m benchmarks.sardine --agent {name} --seed 0"
            for name in ("sardine", "sardine-gamma-0")
        ),
    ]
    return [
        Section("Users who get bored", measured, commands, "", bored()),
        Section(
            "Users who get bored: DDPG minus others",
            measured,
            commands,
            "Differences of the clicks.",
            bored_gains(),
        ),
    ]


def of_consequences() -> list[Section]:
    """Simulated users with a dial."""
    splits = " ".join(f"simulated-{form}-0.5" for form in consequences.FORMS)
    return [
        Section(
            "Simulated users with a dial",
            "Data set ml-1m or ml-100k, splits simulated-*form*-*dial* (see [worlds](worlds.md)), "
            "protocol simulated-B: test users, one session of 30 films each; 5 training seeds.",
            [
                f"-m benchmarks.study --agents consequences consequences-gamma-0 --splits {splits}",
                "-m benchmarks.worlds simulated --dial 0.5 --record",
                "-m benchmarks.consequences",
            ],
            "*Gain*: gamma > 0 minus gamma = 0, in stars of a session; *headroom*: roll-outs of "
            "the greedy oracle minus itself; *over the oracle*: gamma > 0 minus the greedy oracle, "
            "which knows the user. *Share*: the gain as a share of the headroom.",
            labelled(consequences.table()),
        )
    ]


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """Data set, form and dial as one label of a row."""
    label = [table.pop(column) for column in ("data set", "form", "dial")]
    return table.set_axis([", ".join(parts) for parts in zip(*label, strict=True)])


def of_questions() -> list[Section]:
    """Questions first, then a list: what looking one answer ahead is worth."""
    measured = (
        "Data set ml-1m, split elicitation (see [worlds](worlds.md)): test users, four random "
        "halves of the catalogue each; precision@10 of what is recommended after the questions; "
        "the learned asker with 5 training seeds after 5 and 10 questions, with one after 3 and 20."
    )
    commands = [
        "-m benchmarks.elicitation",
        "-m benchmarks.elicitation --askers ddpg --seeds 1 2 3 4 --questions 5 10",
        "-m benchmarks.elicitation --rank DRR-set",
    ]
    return [
        Section(
            "Ask first, nothing known",
            measured,
            commands[:2],
            "The Gaussian of likes ranks behind every asker; *all answers known* is its list when "
            "every answer of the asked half is told.",
            askers_table("ml-1m", 0),
        ),
        Section(
            "Ask first, three liked films named",
            measured,
            commands[:2],
            "The three films are of the asked half.",
            askers_table("ml-1m", 3),
        ),
        Section(
            "Ask first: differences",
            measured,
            commands,
            "Where DRR-set ranks, the askers are the same ones, and it is the released agent.",
            gains_table("ml-1m"),
        ),
    ]
