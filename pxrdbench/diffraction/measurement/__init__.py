"""What instrument and sample add to an ideal pattern."""
