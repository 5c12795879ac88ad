"""From a crystal to a pattern: pure functions on batches."""
