"""Predictions become numbers with intervals."""
