"""What a crystal is, and how one is drawn."""
