"""Titles in a form in which different spellings of one title are the same text."""

from __future__ import annotations

import re

from recsys_rl.data.titles import as_words

_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
_NUMBERS += " fifteen sixteen seventeen eighteen nineteen twenty"
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_ENDS = {1: "st", 2: "nd", 3: "rd"}
_SAME = {word: str(number) for number, word in enumerate(_NUMBERS.split())}
_SAME |= {
    word: f"{number}{_ENDS.get(number, 'th')}"
    for number, word in enumerate(_ORDINALS.split(), start=1)
}
_SAME |= {"thirteenth": "13th", "hundred": "100", "doctor": "dr", "mister": "mr", "saint": "st"}
_SAME |= {
    "versus": "vs",
    "teh": "the",
    "hte": "the",
    "colour": "color",
    "colours": "colors",
    "xmas": "christmas",
    "hours": "hrs",
}
_ROMAN = ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii")
_NUMERALS = {numeral: str(number) for number, numeral in enumerate(_ROMAN) if number > 1}
_COUNTED = {"part", "episode", "chapter", "volume", "vol", "no", "number"}  # before a number
_DROPPED = {"a", "an", "the", "and", "n"}

_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_TENS_OF = {word: 10 * number for number, word in enumerate(_TENS, start=2)}
_SPOKEN = re.compile(
    rf"\b(?:(nineteen|twenty) )?({'|'.join(_TENS)})(?: ({'|'.join(_NUMBERS.split()[1:10])}))?\b"
)

# between letters and digits, but not within "13th"
_EDGE = re.compile(r"(?<=[^\W\d])(?=\d)|(?<=\d)(?!(?:st|nd|rd|th)\b)(?=[^\W\d])")
_YEAR = re.compile(r"[(\[ ]((?:18|19|20)\d\d)[)\]]?$")
_A_YEAR = re.compile(r"[(\[]?((?:18|19|20)\d\d)[)\]]?")


def words_of(text: str) -> list[str]:
    """Words with numbers in digits and without articles, "and" and the "part" of "part 2".

    "The Godfather: Part II" -> godfather, 2; "Twelve Monkeys" -> 12, monkeys. Words that are all of
    these kinds stay.
    """
    return counted_words(as_words(text))


def counted_words(plain: str) -> list[str]:
    """The same of what `as_words` has made of a text."""
    words = [_SAME.get(word, word) for word in _EDGE.sub(" ", _in_digits(plain)).split()]
    first = (
        2 if words[:1] in (["the"], ["a"], ["an"]) else 1
    )  # "X-Men" and "The X-Files" have no number
    words[first:] = [_NUMERALS.get(word, word) for word in words[first:]]
    following = [*words[1:], ""][: len(words)]
    kept = [
        word
        for word, after in zip(words, following, strict=True)
        if word not in _DROPPED and not (word in _COUNTED and after.isdecimal())
    ]
    return kept or words


def _in_digits(plain: str) -> str:
    """With tens in digits: "eighty four" is 84, and "nineteen eighty four" 1984."""
    return _SPOKEN.sub(_spoken, plain)


def _spoken(found: re.Match[str]) -> str:
    century, tens, ones = found.groups()
    number = _TENS_OF[tens] + int(_SAME[ones] if ones else 0)
    return f"{_SAME[century]}{number}" if century else str(number)


def key_of(text: str) -> str:
    """The words run together: "Spider-Man", "spider man" and "spiderman" are one."""
    return "".join(words_of(text))


def numbers_of(words: list[str]) -> set[str]:
    """Small numbers behind the first word, which tell films of a series apart; a first part needs
    none."""
    return {word for word in words[1:] if word.isdecimal() and len(word) < 3} - {"1"}


def spelt_numbers(plain: str) -> set[str]:
    """Numbers in words, which count something else than parts: "the Seven Dwarfs", but not "Part
    Two"."""
    words = plain.split()
    return {
        _SAME[word]
        for before, word in zip(["", *words], words, strict=False)
        if word in _NUMBERS.split() and before not in _COUNTED
    }


def split_year(text: str) -> tuple[str, int | None]:
    """ "heat 1995" and "Heat (1995)" -> "heat", 1995; a year alone is a title."""
    text = text.strip()
    found = _YEAR.search(text[-7:])
    title = text[: found.start() - len(text[-7:])].strip(" ,([") if found else ""
    return (title, int(found[1])) if found and title else (text, None)


def year_of(text: str) -> int | None:
    """Of a text that is a year and nothing else, maybe in parentheses."""
    found = _A_YEAR.fullmatch(text.strip())
    return int(found[1]) if found else None
