"""A training: its options, state, files, clock and log."""
