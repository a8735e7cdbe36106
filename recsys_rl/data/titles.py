"""Titles: the year, the article, and the words that count when somebody types one."""

from __future__ import annotations

import html
import re
import unicodedata

_ENGLISH = {"The", "A", "An"}


_GERMANIC = {"Der", "Die", "Das", "Ein", "Eine", "Den", "Det", "De", "Het", "Een", "En", "Ett"}


_ROMANCE = {"Le", "La", "Les", "L'", "Un", "Une", "El", "Los", "Las", "Una", "Il", "Lo", "I"}


_ARTICLES = _ENGLISH | _GERMANIC | _ROMANCE | {"Gli", "Uno", "O", "Os", "As"}


_ALSO = "a.k.a. "


# As long as any name of a character; a number of thousands of digits would be an error.
_REFERENCE = re.compile(r"&#?\w{1,31};")


def display_title(title: str) -> str:
    """Turns an inverted article back: "Matrix, The" -> "The Matrix", also inside parentheses.

    A character that the file has as "&#8230;" is shown as it is meant.

    "City of Lost Children, The (Cité des enfants perdus, La)" -> "The City of Lost Children (La
    Cité des enfants perdus)".
    """
    # no regular expression: one that looks for the article from every place takes quadratic time
    upright = "".join(map(_upright, re.split("([()])", title)))
    return _REFERENCE.sub(lambda match: html.unescape(match[0]), upright)


def _upright(part: str) -> str:
    """The same for a part of a title without parentheses."""
    inverted = part.rstrip()
    name, comma, article = inverted.rpartition(", ")
    if not comma or article not in _ARTICLES:
        return part
    before = _ALSO if name.startswith(_ALSO) else ""
    name = name.removeprefix(before)
    blank = " " if name.startswith(" ") else ""  # between two pairs of parentheses
    joint = "" if article.endswith("'") else " "
    end = part[len(inverted) :]
    return f"{blank}{before}{article}{joint}{name.lstrip()}{end}"


def as_words(text: str) -> str:
    """Only words count: no accents, capitals or punctuation; "&" is "and", "L.A." is "la"."""
    plain = re.sub("['\u2018\u2019`]", "", _without_accents(text).casefold()).replace("&", " and ")
    initials = re.sub(r"(?<=\b\w)[.*](?=\w\b)", "", plain)
    return " ".join(re.findall(r"\w+", initials))


def _without_accents(text: str) -> str:
    if text.isascii():
        return text
    # character by character: normalizing sorts the accents of one letter in quadratic time
    letters = "".join(unicodedata.normalize("NFKD", letter) for letter in text)
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
