"""Databases of crystals and patterns, each with its layout."""
