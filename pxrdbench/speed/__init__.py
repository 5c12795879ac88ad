"""How fast, as a ratio against named peers."""
