"""Tracks made from crystals and patterns."""
