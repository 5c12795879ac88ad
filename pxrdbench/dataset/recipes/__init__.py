"""A data set as a recipe: index in, sample out."""
