"""Train a vocabulary and a small ALBERT from your own text.

    pip install 'albert-torch[train]'
    python examples/pretrain_own_text.py texts/*.txt --vocab-size 8000 --steps 10000

The same from the command line:

    albert-torch train-tokenizer texts --out tokenizer --vocab-size 8000
    albert-torch pretrain nano --corpus texts --tokenizer tokenizer --out runs/mine
"""

import argparse
import tempfile
from pathlib import Path

from albert_torch import AlbertForMaskedLM
from albert_torch.pretraining import (
    PretrainingConfig,
    VocabularyOptions,
    pretrain,
    train_tokenizer,
)


def main() -> None:
    """Learn a vocabulary, pretrain for some steps, and load the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="*", help="text files (default: this repository's pages)")
    parser.add_argument("--vocab-size", type=int, default=400)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    pages = Path(__file__).parent.parent / "docs"
    texts = args.texts or sorted(str(path) for path in pages.rglob("*.md"))

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = Path(folder) / "tokenizer"
        options = VocabularyOptions(vocab_size=args.vocab_size)
        train_tokenizer(texts, tokenizer, options, progress=False)
        config = PretrainingConfig(
            corpus=texts,
            tokenizer=str(tokenizer),
            max_length=64,
            batch_size=8,
            steps=args.steps,
            warmup_steps=1,
            optimizer="adamw",
            learning_rate=1e-3,
            model_config={
                "embedding_size": 32,
                "hidden_size": 64,
                "num_attention_heads": 2,
                "intermediate_size": 128,
                "num_hidden_layers": 3,
                "max_position_embeddings": 64,
            },
        )
        run = Path(folder) / "run"
        result = pretrain(config, run)
        model = AlbertForMaskedLM.from_pretrained(run)
        print(f"{result.step} steps, {model.num_parameters():,} parameters")


if __name__ == "__main__":
    main()
