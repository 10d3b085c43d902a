"""Find the lines of a text file that are closest to a query.

    pip install 'albert-torch[inference]'
    python examples/semantic_search.py book.txt 'a storm at sea' --model albert/albert-base-v2

A model that was not trained for similarity finds texts with similar words. For more, train one on
sentence pairs; the `stsb` recipe is a start.
"""

import argparse
from pathlib import Path

import numpy as np

from albert_torch import Encoder


def main() -> None:
    """Encode every line once, and print the lines with the largest cosine similarity."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path(__file__))
    parser.add_argument("query", nargs="?", default="print the lines")
    parser.add_argument("--model", default="albert-torch/nano")
    parser.add_argument("--top-k", type=int, default=3)
    args = parser.parse_args()

    encoder = Encoder.from_pretrained(args.model)
    lines = [line.strip() for line in args.file.read_text().splitlines() if line.strip()]
    vectors = encoder.encode(lines, normalize_embeddings=True)  # (lines, H), numpy
    query = encoder.encode(args.query, normalize_embeddings=True)  # (H,)
    similarity = vectors @ query
    for index in np.argsort(-similarity)[: args.top_k]:
        print(f"{similarity[index]:.3f}  {lines[index]}")


if __name__ == "__main__":
    main()
