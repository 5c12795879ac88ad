"""Questions across models: comparison, robustness, randomisation, leakage."""
