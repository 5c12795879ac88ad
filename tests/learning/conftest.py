from tiny_network import tiny_model

__all__ = ["tiny_model"]
