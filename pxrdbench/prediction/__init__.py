"""A person's scan becomes a ranked list of space groups."""
