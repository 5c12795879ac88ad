"""Intensities at a lattice's lines, what is absent, which groups remain."""
