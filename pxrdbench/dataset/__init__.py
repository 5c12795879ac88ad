"""Samples at rest and on the move."""
