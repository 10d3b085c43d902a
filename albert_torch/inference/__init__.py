"""The fast path: `optimize` prepares a model, `Encoder` takes text and returns vectors."""

from albert_torch.inference.optimize import OptimizedAlbert, optimize
from albert_torch.inference.packed_batch import PackedOutput
from albert_torch.inference.pipelines import Answer, TokenPrediction
from albert_torch.inference.text_encoder import Encoder

__all__ = ["Answer", "Encoder", "OptimizedAlbert", "PackedOutput", "TokenPrediction", "optimize"]
