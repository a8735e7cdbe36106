"""The sections of docs/results.md: what was measured, by which commands, and the table.

Worlds with consequences: `report_worlds.py`; the tables: `report_tables.py`; the document and its
head: `report.py`.
"""

from __future__ import annotations

from itertools import chain

from benchmarks.report_form import Section, study, tuning
from benchmarks.report_next_item import CLOCK, after_a_pause, next_item, peers, worth
from benchmarks.report_tables import (
    ABLATIONS,
    BASELINES,
    EIGHTHS,
    EXPLORATION,
    ablations,
    added,
    calibrated,
    cross_dataset,
    explored,
    ranked,
    reranked,
    rivalries,
    sessions_table,
    simulated,
    stages,
    training_times,
)
from benchmarks.report_worlds import (
    of_bored_users,
    of_consequences,
    of_leaving_users,
    of_questions,
    of_worlds,
)
from benchmarks.summaries import SESSIONS, Agent, compared, gains


def sections() -> list[Section]:
    """Everything that the document shows, in its order; nothing of what was not run yet."""
    found = [of_worlds(), *of_logs(), *of_the_next_item(), *of_cold_start()]
    found += [*of_leaving_users(), *of_consequences(), *of_questions(), *of_bored_users()]
    found += of_others()
    return [section for section in found if len(section.table) > 1]


def of_logs() -> list[Section]:
    """The protocols that rank what the log of a known user holds."""
    found = []
    for dataset, users, names in (
        ("ml-1m", "6,040", ["DRR-ave", "DRR-seq"]),
        ("ml-100k", "943", ["DRR-ave", "DRR-ave-ddpg-only", "DRR-seq"]),
    ):
        commands = [tuning(dataset, "leave-one-out"), study(dataset, "leave-one-out", *names)]
        note = (
            "Hit@10 and nDCG@10 are among all unseen items; the columns with 99 sampled negatives "
            "serve comparison with older papers only."
        )
        if dataset == "ml-1m":
            commands.append("-m benchmarks.published")
            note += (
                " *Published* figures are of the files of He et al. (WWW 2017), *reproduced* are "
                "ours in that setting, with lambda of EASE chosen on the test items as there."
            )
        measured = f"Data set {dataset}, split leave-one-out, {users} users, 5 training seeds "
        measured += "unless the column says another number."
        heading = f"Leave-one-out, {dataset}"
        found.append(Section(heading, measured, commands, note, ranked(dataset)))
    found.append(
        Section(
            "Ablations of DRR-ave",
            "Data set ml-100k, splits leave-one-out and ratings (protocol re-ranking), 5 training "
            "seeds.",
            [
                study(
                    "ml-100k",
                    "leave-one-out ratings",
                    *dict.fromkeys(a.name for a in ABLATIONS.values()),
                )
            ],
            "Each row changes one thing; the rows on history and on one user's action change what "
            "the trained agent is given when it is evaluated.",
            ablations("ml-100k"),
        )
    )
    found.append(
        Section(
            "Replay and exploration",
            "Data set ml-100k, split and protocol leave-one-out, DRR-ave, 5 training seeds.",
            [study("ml-100k", "leave-one-out", *chain.from_iterable(EXPLORATION.values()))],
            "",
            explored("ml-100k"),
        )
    )
    found.append(
        Section(
            "Random positives",
            "Data set ml-1m, split and protocol random-positives (ratings above 3 split 80/20 by "
            "rows, each test row against 99 items that are no positive of the user); baselines, "
            "which have no training seed.",
            [tuning("ml-1m", "random-positives")],
            "",
            compared(
                {"sampled_hr@10": "Hit@10", "sampled_ndcg@10": "nDCG@10"},
                BASELINES,
                dataset="ml-1m",
                split="random-positives",
                protocol="random-positives",
            ),
        )
    )
    found.append(
        Section(
            "Re-ranking",
            "Data set ml-1m, split ratings (80/20 by rows), protocol re-ranking: the test items "
            "that a user rated are put in order; 5 training seeds.",
            [tuning("ml-1m", "ratings"), study("ml-1m", "ratings", "DRR-ave")],
            "The column *random 0 to oracle 1* says how far the mean goes from a random order to "
            "the best one.",
            reranked("ml-1m"),
        )
    )
    found.append(
        Section(
            "Temporal",
            "Data set ml-1m, split and protocol temporal (the oldest 80 % of the ratings train, "
            "full ranking of what 1,181 users rated after the last cut), 5 training seeds.",
            [tuning("ml-1m", "temporal"), study("ml-1m", "temporal", "DRR-seq")],
            "The agents were not tuned for this split, and DRR-seq had a dropout of 0.2 then (see "
            "the [log](log.md)).",
            compared(
                {"hr@10": "Hit@10", "ndcg@10": "nDCG@10"},
                [*BASELINES, *stages("DRR-seq")],
                dataset="ml-1m",
                split="temporal",
                protocol="temporal",
            ),
        )
    )
    return found


def of_the_next_item() -> list[Section]:
    """What next-item models read, and what the task is worth; never a table without "reads"."""
    names = ["DRR-seq", CLOCK]
    copy = (
        "The copy of ML-1M used here has exact orders and 12.5 % estimated time stamps: with the "
        "official file, figures that read the clock may differ, and the first command measures "
        "them again."
    )
    worth_of = [
        "-m benchmarks.next_item --releases models/ml-1m-next models/ml-1m-next-clock",
    ]
    return [
        Section(
            "The next item, by what is read",
            "Data set ml-1m, split leave-one-out, full ranking, 6,040 users; training seeds in the "
            "column.",
            [study("ml-1m", "leave-one-out", CLOCK), study("ml-1m", "leave-one-out", "DRR-seq")],
            f"{copy} *Time of the request*: when the next item is asked for, in a log the time of "
            "the rating that follows, which a service does not know beforehand (see "
            "[protocols](protocols.md)).",
            next_item(),
        ),
        Section(
            "What the next item is worth",
            "Data set ml-1m, split leave-one-out, full ranking, 6,040 users; the released agents, "
            "one training seed each.",
            worth_of,
            "Columns by gap are of the users whose test item has that gap to the rating before it; "
            "*ties shuffled* puts equal time stamps in random order, the test item among them, the "
            "mean of five orders. *Three classes*, *told*: what the agent is told of the request "
            "is not true.",
            worth(),
        ),
        Section(
            "After a pause",
            "Data set ml-1m, split and protocol after-a-pause: the first rating after each user's "
            "last pause of a day or more, full ranking; training seeds in the column.",
            [
                study("ml-1m", "after-a-pause", *names),
                "-m benchmarks.next_item --baselines",
            ],
            "Nothing was tuned for this split: settings are those of leave-one-out.",
            after_a_pause(),
        ),
        Section(
            "DRR-seq beside SASRec of RecTools",
            "Data set ml-1m, split leave-one-out, full ranking, 6,040 users; one training seed a "
            "row, both one after the other on the same cores.",
            ["-m benchmarks.next_item_peer --dataset ml-1m"],
            "The peer is RecTools' own SASRec with the [settings of its own benchmark]"
            "(../benchmarks/peers/rectools_sasrec.py), stopped after three times the minutes of "
            "DRR-seq, and both are judged by one function, with the clock stopped. Columns by "
            "validation are on 2,000 users, the last two on test items ([all rows]"
            "(../benchmarks/results/next_item_peer.csv)).\n\n"
            "![Hit@10 and nDCG@10 against minutes of training](next-item-peer.png)",
            peers(),
        ),
    ]


def of_cold_start() -> list[Section]:
    """Sessions and suggestions for users whom no model has met."""
    held_out = "split cold-start (users held out whole)"
    ours = stages("DRR-seq", "DRR-set")
    suggesting = [*BASELINES, Agent("Gaussian of likes"), *ours]
    names = ["DRR-set", "DRR-set-gamma-0", "DRR-set-no-linear"]
    found = [
        Section(
            "Seed-and-suggest",
            f"Data set ml-1m, {held_out}, protocol seed-and-suggest: three liked films in, three "
            "out; 603 users, 20 draws each; training seeds in the column.",
            [
                tuning("ml-1m", "seed-and-suggest"),
                study("ml-1m", "cold-start", "DRR-set"),
            ],
            "",
            compared(
                {"precision@3": "Precision@3", "hit@3": "Hit@3"},
                suggesting,
                dataset="ml-1m",
                split="cold-start",
                protocol="seed-and-suggest",
            ),
        )
    ]
    for dataset, users in (("ml-1m", 603), ("ml-100k", 94)):
        key = {"dataset": dataset, "split": "cold-start", "protocol": SESSIONS}
        measured = (
            f"Data set {dataset}, {held_out}, protocol cold-start-sessions, {users} users, 5 "
        )
        measured += "training seeds unless the column says another number."
        commands = [study(dataset, "cold-start", *names)]
        beside = [
            tuning(dataset, "cold-start"),
            f"-m benchmarks.stable_baselines3_ddpg --dataset {dataset}",
        ]
        note = (
            "A user names three liked films, then T films are shown one by one; the figure is the "
            "share of them that the user rated 4 or more, a film without a rating counts as not "
            "liked. *Gate reset* puts the weight of the Gaussian back to its start after "
            "pretraining."
        )
        heading = f"Cold-start sessions, {dataset}"
        found.append(
            Section(heading, measured, [*beside, *commands], note, sessions_table(dataset))
        )
        found.append(
            Section(
                f"DRR-set minus others, {dataset}",
                measured,
                [*beside[:1], study(dataset, "cold-start", "DRR-set")],
                "Differences of the share liked.",
                gains(rivalries(), **key),
            )
        )
        found.append(
            Section(
                f"What DDPG adds, {dataset}",
                measured,
                commands,
                "Differences of the share liked between the agent after DDPG and the same agent "
                "before it, or trained in another way.",
                gains(added(), **key),
            )
        )
    eighths = study("ml-100k", " ".join(EIGHTHS), "DRR-set")
    found.append(
        Section(
            "Calibration of the critic",
            "Data set ml-1m or ml-100k, split cold-start and, for *every user once*, "
            "cold-start-eighth-1 to -8, with one training seed each; greedy sessions, 3 draws; "
            "splits user-leaves, simulated-satisfaction-0.5, elicitation-5 and -10; and split "
            "sardine, 3 seeds.",
            [study("ml-1m", "cold-start", *names[:2]), eighths],
            "Mean Q / mean discounted return (relative error) at the first, the middle and the "
            "last of 40 steps (30 with users who leave and with satisfaction, 5 or 10 questions of "
            "the learned asker, 100 with users who get bored), means over runs; *every user once*: "
            "the error of all together. *Worst tenth*: the largest relative error among tenths of "
            "the sessions ordered by Q, at the middle step, mean over runs.",
            calibrated(),
        )
    )
    return found


def of_others() -> list[Section]:
    """Users of another data set, simulated users, past variants, seconds."""
    found = [
        Section(
            "Cross-dataset",
            "Trained and chosen on ml-1m, evaluated with 564 users of ml-latest-small (split "
            "cross-dataset, protocol cold-start-sessions, films of ml-1m only), 1 training seed: "
            "the released agent.",
            ["-m benchmarks.cross_dataset"],
            "The last rows are paired differences.",
            cross_dataset("ml-1m"),
        )
    ]
    for dataset in ("ml-1m", "ml-100k"):
        found.append(
            Section(
                f"Simulated users, {dataset}",
                f"Data set {dataset}, splits simulated and simulated-series, protocols simulated-A "
                "(the simulator that the agents learn in, PMF on one half of the ratings) and "
                "simulated-B (neighbours, on the other half); mean reward of ten steps, (stars - "
                "3) / 2 each; training seeds in the column.",
                [f"-m benchmarks.simulated --dataset {dataset}"],
                "In *series* a film's reward rises or falls by 0.1 for every like or dislike in a "
                "row just before it, five at most; no agent was trained for it. Values by user of "
                "the baselines were not kept.",
                simulated(dataset),
            )
        )
    found.append(
        Section(
            "Seconds of a training",
            "Data set ml-1m, one thread, both stages together; training seeds in the column.",
            ["-m benchmarks.study --dataset ml-1m"],
            "The machines were shared with other work: read them as an order of magnitude.",
            training_times("ml-1m"),
        )
    )
    return found
