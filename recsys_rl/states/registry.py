"""State representations by name. Add your own: `STATES["DRR-mine"] = MyState`."""

from __future__ import annotations

from recsys_rl.states.affected import Affected
from recsys_rl.states.base import State
from recsys_rl.states.belief import Belief, NoBelief
from recsys_rl.states.drr import DRRatt, DRRave, DRRp, DRRu
from recsys_rl.states.drr_seq import DRRseq
from recsys_rl.states.drr_seq_clock import DRRseqClock
from recsys_rl.states.drr_set import DRRset

STATES: dict[str, type[State]] = {
    "DRR-p": DRRp,
    "DRR-u": DRRu,
    "DRR-ave": DRRave,
    "DRR-att": DRRatt,
    "DRR-seq": DRRseq,
    "DRR-seq-clock": DRRseqClock,
    "DRR-set": DRRset,
    "belief": Belief,
    "no-belief": NoBelief,
    "affected": Affected,
}
