"""Batches for training: loaders, their order, mixtures."""
