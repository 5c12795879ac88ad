"""CIF text: blocks, fields, repairs, crystals."""
