"""The factory: Ray workers that materialise a recipe, on one machine or a hundred.

Everything that talks to Ray is in here, and nothing else is.
"""

from pxrdbench.factory.ray.stream import RayStream
from pxrdbench.factory.run import MAX_SIZE_BYTES, GenerateConfig, generate

__all__ = ["MAX_SIZE_BYTES", "GenerateConfig", "RayStream", "generate"]
