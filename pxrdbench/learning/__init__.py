"""Models that read a pattern, and how they are trained and kept."""
