"""Fine-tune a classifier in a plain PyTorch training loop.

python examples/training_loop.py --model albert/albert-base-v2
"""

import argparse

import torch

from albert_torch import AlbertForSequenceClassification, AlbertTokenizer

REVIEWS = [
    ("a warm and funny film about growing old", 1),
    ("dull, slow and far too long", 0),
    ("the actors are a joy to watch", 1),
    ("nothing in it is worth your time", 0),
    ("one of the best scripts of the year", 1),
    ("a mess of half finished ideas", 0),
    ("it made me laugh and then cry", 1),
    ("the jokes fall flat every time", 0),
]


def main() -> None:
    """Train on eight reviews and print the loss and the predictions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="albert-torch/nano")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    args = parser.parse_args()

    torch.manual_seed(1)
    tokenizer = AlbertTokenizer.from_pretrained(args.model)
    model = AlbertForSequenceClassification.from_pretrained(
        args.model, id2label={0: "negative", 1: "positive"}, dtype=torch.float32, unpad=True
    )
    texts, labels = zip(*REVIEWS, strict=True)
    batch = tokenizer(list(texts), padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate)

    model.train()
    for step in range(args.steps):
        loss = model(**batch, labels=torch.tensor(labels)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 5 == 0 or step == args.steps - 1:
            print(f"step {step}: loss {loss.item():.4f}")

    model.eval()
    with torch.no_grad():
        predictions = model(**batch).logits.argmax(-1)
    for text, prediction in zip(texts, predictions.tolist(), strict=True):
        print(f"{model.config.id2label[prediction]:9} {text}")


if __name__ == "__main__":
    main()
