"""A head of your own: one class, and loading, saving and the fast path know it.

python examples/custom_head.py
"""

import tempfile
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from albert_torch import AlbertConfig, AlbertTokenizer
from albert_torch.heads import AlbertHeadModel
from albert_torch.inference import optimize
from albert_torch.outputs import SequenceClassifierOutput


class AlbertForReadability(AlbertHeadModel):
    """One number per text: how easy it is to read."""

    output_class = SequenceClassifierOutput
    head_modules = ("readability",)
    uses_pooler = True
    reads_pooler_only = True

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.readability = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return one logit per row, (B, 1)."""
        return {"logits": self.readability(pooled)}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the mean squared error."""
        return nn.functional.mse_loss(logits["logits"].squeeze(-1), labels["labels"])


def main() -> None:
    """Train for a few steps, save, load, and compare with the fast path."""
    torch.manual_seed(1)
    tokenizer = AlbertTokenizer.from_pretrained("albert-torch/nano")
    model = AlbertForReadability.from_pretrained("albert-torch/nano", dtype=torch.float32)
    batch = tokenizer(
        ["See the dog run.", "Notwithstanding the aforementioned considerations, we abstained."],
        padding=True,
        return_tensors="pt",
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for _ in range(10):
        loss = model(**batch, labels=torch.tensor([1.0, 0.0])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"loss {loss.item():.4f}")

    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        model = AlbertForReadability.from_pretrained(directory)
    with torch.no_grad():
        logits = model(**batch).logits
    fast_logits = optimize(model)(**batch).logits
    print(logits.squeeze(-1).tolist())
    print("largest difference on the fast path:", f"{(fast_logits - logits).abs().max():.1e}")


if __name__ == "__main__":
    main()
