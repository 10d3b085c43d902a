"""The fast path: `optimize` prepares a model for inference; `Encoder` takes text and gives vectors."""

from albert_torch.inference.encoder import Encoder
from albert_torch.inference.optimized import OptimizedAlbert, optimize
from albert_torch.inference.tasks import Answer

__all__ = ["Answer", "Encoder", "OptimizedAlbert", "optimize"]
