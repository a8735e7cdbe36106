"""Titles as words."""

from __future__ import annotations

import pytest

from recsys_rl.data.titles import as_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  The   MATRIX ", "the matrix"),
        ("Misérables, Les", "miserables les"),
        ("Schindler\u2019s List", "schindlers list"),
        ("Thelma & Louise", "thelma and louise"),
        ("L.A. Confidential", "la confidential"),
        ("Dr. Strangelove", "dr strangelove"),
        ("?!", ""),
    ],
)
def test_only_words_count(text, words):
    assert as_words(text) == words
