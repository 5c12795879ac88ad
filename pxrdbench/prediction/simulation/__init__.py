"""Crystals become patterns as an instrument writes them, and are laid over a scan."""
