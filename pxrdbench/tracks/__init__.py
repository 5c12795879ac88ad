"""Frozen crystals that models are judged on."""
