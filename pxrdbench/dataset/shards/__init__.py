"""A recipe written to files, packed, listed, verified, rolling."""
