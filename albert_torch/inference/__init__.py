"""The fast path: `optimize` prepares a model for inference; `Encoder` takes text and gives vectors."""

from albert_torch.inference.optimize import OptimizedAlbert, optimize
from albert_torch.inference.pipelines import Answer
from albert_torch.inference.text_encoder import Encoder

__all__ = ["Answer", "Encoder", "OptimizedAlbert", "optimize"]
