"""What a submission says of itself."""

from pxrdbench.benchmark.leaderboard.submission import (
    metadata_template,
)

METADATA = metadata_template() | {
    "name": "mine",
    "title": "Mine",
    "tier": "self-scored",
    "date": "2026-11-22",
    "authors": [{"name": "A. Author", "orcid": "0000-0002-1825-0097"}],
    "description": "A model.",
    "compute": {"hardware": "two cores", "hours": 0.1},
}
METADATA["training_data"]["description"] = "Synthetic crystals."
