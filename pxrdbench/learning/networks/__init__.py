"""Networks and other models, by name."""
