"""Models of others, confined to a process of their own."""
