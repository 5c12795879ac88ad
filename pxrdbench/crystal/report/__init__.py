"""What a prior holds and what is drawn from it, as tables and pictures."""
