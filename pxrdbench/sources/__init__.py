"""Real crystals and real measurements, from files."""
