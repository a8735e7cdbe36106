"""State representations by name."""

from __future__ import annotations

from torch import nn

from recsys_rl.states.drr import DRRatt, DRRave, DRRp, DRRu
from recsys_rl.states.drr_seq import DRRseq
from recsys_rl.states.drr_set import DRRlikes, DRRset

STATES: dict[str, type[nn.Module]] = {
    "p": DRRp,
    "u": DRRu,
    "ave": DRRave,
    "att": DRRatt,
    "seq": DRRseq,
    "set": DRRset,
    "likes": DRRlikes,
}
