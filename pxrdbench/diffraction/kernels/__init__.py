"""Compiled physics: structure factors, peak lists, profiles, backgrounds."""
