"""Fine-tune a classifier with Hugging Face's Trainer: only the import of the model differs.

pip install 'albert-torch[parity]' accelerate
python examples/hf_trainer.py --model albert/albert-base-v2
"""

import argparse
import tempfile
from typing import Any

import torch
from training_loop import REVIEWS
from transformers import Trainer, TrainingArguments

from albert_torch import AlbertForSequenceClassification, AlbertTokenizer


def main() -> None:
    """Train on eight reviews, evaluate, save, and load again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="albert-torch/nano")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()

    tokenizer = AlbertTokenizer.from_pretrained(args.model)
    model = AlbertForSequenceClassification.from_pretrained(
        args.model, num_labels=2, dtype=torch.float32
    )
    rows = [{**tokenizer(text), "labels": label} for text, label in REVIEWS]

    def collate(features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return dict(tokenizer.pad(features, return_tensors="pt"))

    def accuracy(evaluation: Any) -> dict[str, float]:
        predictions = evaluation.predictions.argmax(-1)
        return {"accuracy": float((predictions == evaluation.label_ids).mean())}

    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=directory,
                max_steps=args.steps,
                learning_rate=1e-3,
                logging_steps=10,
                save_strategy="no",
                report_to="none",
                use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=rows,  # type: ignore[arg-type]  # a list is a map-style data set
            eval_dataset=rows,  # type: ignore[arg-type]
            data_collator=collate,
            compute_metrics=accuracy,
        )
        trainer.train()
        print("accuracy:", trainer.evaluate()["eval_accuracy"])
        model.save_pretrained(directory)  # weights and config.json
        AlbertForSequenceClassification.from_pretrained(directory)


if __name__ == "__main__":
    main()
