"""Films in, films out: suggestions from the released agent, without any training.

python recommendation.py matrix "toy story"           films you like, as you would type them
python recommendation.py                              three random films, three suggestions
python recommendation.py --session --profile me.json  film by film
python recommendation.py --seed 7 --json              repeatable, for other programs

docs/command.md has the rest.
"""

import sys

try:
    from recsys_rl.command.main import main
except ImportError as error:  # Python is too old, or nothing is installed
    print(f"recommendation.py: {error}", file=sys.stderr)
    sys.exit(2)
except KeyboardInterrupt:  # while Python looks for it
    sys.exit(130)

if __name__ == "__main__":
    for stream in (sys.stdin, sys.stdout):
        if stream is not None:  # it is None where the caller has closed it
            stream.reconfigure(errors="replace")  # an accent must not end a session in ASCII
    sys.exit(main())
