"""Lattices, and which of them explain a list of lines."""
