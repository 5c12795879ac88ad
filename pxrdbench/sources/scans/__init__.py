"""Laboratory scans in the formats of their instruments."""
