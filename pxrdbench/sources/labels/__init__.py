"""Structure types, their names, and symbols of space groups."""
