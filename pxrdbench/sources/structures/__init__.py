"""Imports of many crystals, with an account of each entry."""
