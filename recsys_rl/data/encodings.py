"""Text of files that are not UTF-8. This file needs no numpy."""

from __future__ import annotations

import re

# control characters of latin-1, which no title holds: quotes, dashes, the euro sign of Windows
_WINDOWS = re.compile(rb"[\x80-\x9f]")


def western(raw: bytes) -> str:
    """As latin-1, or as Windows has it (cp1252) where the bytes would be control characters."""
    if _WINDOWS.search(raw):
        try:
            return raw.decode("cp1252")
        except UnicodeDecodeError:  # five bytes mean nothing there
            pass
    return raw.decode("latin-1")
