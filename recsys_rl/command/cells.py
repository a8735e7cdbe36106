"""The command in a notebook: plain text in, plain text out.

    from recsys_rl.command.cells import session, suggest

    print(suggest("matrix", "toy story", dislike=["top gun"], k=5))
    session(profile="me.json")  # asks with input(); stop ends it

Options are those of the command, with _ for -: genre=["crime"], not_genre=..., year="1990-2000",
adventure=0.5, dataset="ml-100k". What the command says on stderr appears there. Wrong input raises
CommandError.
"""

from __future__ import annotations

from recsys_rl.command.answering import Show, answer
from recsys_rl.command.arguments import parse
from recsys_rl.command.errors import CommandError
from recsys_rl.command.keyboard import END, Ask
from recsys_rl.data.notes import shortened

SEVERAL = "like", "dislike", "seen", "movies", "genre", "not_genre"  # options of several values


def suggest(*liked: str | int, **options: object) -> str:
    """What the command answers to somebody who liked these films."""
    shown: list[str] = []
    answer(parse(_argv(liked, options)), shown.append)
    return "\n".join(shown)


def session(
    *liked: str | int, ask: Ask | None = None, show: Show = print, **options: object
) -> None:
    """A session, film by film. ask: from a prompt to an answer, `input` by default."""
    if not callable(show) or not (ask is None or callable(ask)):
        raise CommandError("ask is a function from a prompt to an answer, and show takes a text")
    asked = _input if ask is None else ask

    def as_text(prompt: str) -> str:
        said = asked(prompt)
        if not isinstance(said, str):
            raise CommandError(f"ask gives an answer as text, and not {shortened(said)}")
        return said

    answer(parse(["--session", *_argv(liked, options)]), show, as_text)


def _input(prompt: str) -> str:
    try:
        return input(prompt)
    except EOFError:
        return END


def _argv(liked: tuple[str | int, ...], options: dict[str, object]) -> list[str]:
    """Every text as it would be typed between quotes."""
    argv = [f"--like={film}" for film in liked]
    for name, value in options.items():
        if name in ("help", "version"):
            raise CommandError(f"{name} is for the command line: python recommendation.py --{name}")
        if isinstance(value, (list, tuple)) and name not in SEVERAL:
            raise CommandError(
                f'{name} is one value, and not {shortened(value)}: years are "1990-2000"'
            )
        option = f"--{name.replace('_', '-')}"
        if value is True:
            argv.append(option)
        elif value is not None and value is not False:  # 0 is a value
            values = value if isinstance(value, (list, tuple)) else [value]
            argv += [f"{option}={each}" for each in values]
    return argv
