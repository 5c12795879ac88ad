"""Makes the tables of ``symmetry/`` anew: modules that are run, not imported."""
