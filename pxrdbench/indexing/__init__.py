"""Reading a pattern: lines, cells, intensities, absences, space groups."""
