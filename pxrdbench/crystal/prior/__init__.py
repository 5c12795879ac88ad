"""What the generator knows of crystals: fitted, smoothed, merged, edited."""
