"""Crystals drawn from a prior, with the symmetry that they claim."""
