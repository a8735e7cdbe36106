"""Titles: the year, the article, and the words that count when somebody types one."""

from __future__ import annotations

import html
import re
import unicodedata

_ARTICLES = (
    "The|A|An|Der|Die|Das|Ein|Eine|Den|Det|De|Het|Een|En|Ett|Le|La|Les|L'|Un|Une|El|Los|Las|Una|"
    "Il|Lo|I|Gli|Uno|O|Os|As"
)


_INVERTED = re.compile(rf"((?:a\.k\.a\. )?)([^()]*?), ({_ARTICLES})(?=\s*(?:[()]|$))")


def display_title(title: str) -> str:
    """Turns an inverted article back: "Matrix, The" -> "The Matrix", also inside parentheses.

    A character that the file has as "&#8230;" is shown as it is meant.

    "City of Lost Children, The (Cité des enfants perdus, La)" -> "The City of Lost Children (La
    Cité des enfants perdus)".
    """

    def upright(match: re.Match) -> str:
        before, name, article = match.groups()
        blank = " " if name.startswith(" ") else ""  # between two pairs of parentheses
        joint = "" if article.endswith("'") else " "
        return f"{blank}{before}{article}{joint}{name.lstrip()}"

    return html.unescape(_INVERTED.sub(upright, title))


def as_words(text: str) -> str:
    """Only words count: no accents, capitals or punctuation; "&" is "and", "L.A." is "la"."""
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = re.sub("['\u2018\u2019`]", "", "".join(letters).casefold()).replace("&", " and ")
    initials = re.sub(r"(?<=\b\w)[.*](?=\w\b)", "", plain)
    return " ".join(re.findall(r"\w+", initials))
