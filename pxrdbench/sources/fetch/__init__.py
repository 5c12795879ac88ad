"""Public data sets, downloaded and pinned by checksum."""
