"""Letters of Wyckoff positions."""

# Letters of Wyckoff positions by index; group 47 needs the 27th.
WYCKOFF_LETTERS = "abcdefghijklmnopqrstuvwxyzA"
