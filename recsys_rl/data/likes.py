"""From which rating on an item is liked."""

POSITIVE = 4.0  # a rating of 4 or more is a positive (Liu et al., arXiv 1810.12027)
SHOWN = 0.0  # an item that was shown and not liked: no stars are known
