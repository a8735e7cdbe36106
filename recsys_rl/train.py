"""Train an agent of the registry from the command line, with checkpoints, and release it.

    python -m recsys_rl.train --dataset ml-100k --agent DRR-set --out models/local/ml-100k
    python -m recsys_rl.train --agent DRR-set --set ddpg.gamma=0 --checkpoints checkpoints --resume
    python -m recsys_rl.train --dataset ml-1m --device cuda            (`docs/scale.md`)
    torchrun --nproc-per-node 2 -m recsys_rl.train --agent DRR-set     (`docs/scale.md`)
    python -m recsys_rl.train --dataset films.csv --columns user=uid item=film rating=score \\
        --positive 7 --order file --out models/local/films

The loop, the splits and the configurations are those of the notebook. The metrics of the release
are those of the test part. Exit codes: 0 trained; 2 something was wrong with the input, the data or
the disk, as one sentence on stderr says; 128 + n stopped by signal n, the checkpoint written.
"""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code. PyTorch takes seconds to import: Ctrl-C is as quiet then as later."""
    try:
        from recsys_rl.train_command import main as command

        return command(argv)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
