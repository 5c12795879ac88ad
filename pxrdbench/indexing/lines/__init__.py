"""Stage one: where the lines of a pattern are, and how sure."""
