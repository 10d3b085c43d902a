"""Fine-tune a classifier with PEFT's LoRA, and merge the adapter into the model.

    pip install peft
    python examples/peft_lora.py --model albert/albert-base-v2

albert_torch has adapters of its own, which can differ in each run of the shared layer:
`albert-torch finetune RECIPE --lora-rank 8 --lora-per-depth`.
"""

import argparse

import peft
import torch
from training_loop import REVIEWS

from albert_torch import AlbertForSequenceClassification, AlbertTokenizer, register_with_peft


def main() -> None:
    """Train LoRA matrices for query and value, merge them, and compare the logits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="albert-torch/nano")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()

    register_with_peft()  # the default target modules for ALBERT: query and value
    torch.manual_seed(1)
    tokenizer = AlbertTokenizer.from_pretrained(args.model)
    model = AlbertForSequenceClassification.from_pretrained(
        args.model, num_labels=2, dtype=torch.float32
    )
    tuned = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=8))
    tuned.print_trainable_parameters()

    texts, labels = zip(*REVIEWS, strict=True)
    batch = tokenizer(list(texts), padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=5e-3)
    tuned.train()
    for step in range(args.steps):
        loss = tuned(**batch, labels=torch.tensor(labels)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 5 == 0 or step == args.steps - 1:
            print(f"step {step}: loss {loss.item():.4f}")

    tuned.eval()
    with torch.no_grad():
        before = tuned(**batch).logits
        merged = tuned.merge_and_unload()
        after = merged(**batch).logits
    print("largest change of a logit by merging:", f"{(after - before).abs().max():.1e}")


if __name__ == "__main__":
    main()
