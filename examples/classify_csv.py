"""Fine-tune on a CSV file and classify another one.

    pip install 'albert-torch[train,inference]'
    python examples/classify_csv.py --train reviews.csv --model albert/albert-base-v2 --steps 500

The same from the command line:

    albert-torch finetune classification --train reviews.csv --out runs/reviews
    albert-torch classify new.csv --column text --model runs/reviews --format csv
"""

import argparse
import csv
import tempfile
from pathlib import Path

from training_loop import REVIEWS

from albert_torch import Encoder
from albert_torch.finetuning import FinetuningConfig, finetune


def write_reviews(path: Path) -> None:
    """Write a small table with the columns text and label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((text, "good" if label else "bad") for text, label in REVIEWS)


def main() -> None:
    """Train with early evaluation on the training file, and print labels with probabilities."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, help="a CSV file (default: eight reviews)")
    parser.add_argument("--model", default="albert-torch/nano")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        train = args.train or Path(folder) / "reviews.csv"
        if args.train is None:
            write_reviews(train)
        config = FinetuningConfig.from_dict(
            {
                "task": "classification",
                "model": args.model,
                "train": str(train),
                "dev": str(train),
                "max_length": 64,
                "batch_size": 4,
                "steps": args.steps,
                "warmup_steps": max(1, args.steps // 10),
                "learning_rate": 1e-3,
            }
        )
        run = Path(folder) / "run"
        (result,) = finetune(config, run)
        print(f"best {result.metric}: {result.best:.1f}")

        encoder = Encoder.from_pretrained(run)
        texts = ["a joy from the first minute", "far too long and dull"]
        for text, scores in zip(texts, encoder.classify(texts), strict=True):
            label, probability = next(iter(scores.items()))
            print(f"{label} ({probability:.0%})  {text}")


if __name__ == "__main__":
    main()
