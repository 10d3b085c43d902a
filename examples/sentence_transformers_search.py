"""Search with sentence-transformers, which builds albert_torch's modules after one call.

pip install sentence-transformers
python examples/sentence_transformers_search.py --model albert/albert-base-v2
"""

import argparse

from sentence_transformers import SentenceTransformer, util

from albert_torch import register_with_transformers
from albert_torch.hub import Source

SENTENCES = [
    "The captain stood on the deck of the ship.",
    "She poured the tea and cut the cake.",
    "The soldiers marched through the night.",
    "They sailed along the coast until dawn.",
]


def main() -> None:
    """Print the sentences in the order of their similarity to a query."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="albert-torch/nano")
    parser.add_argument("--query", default="a voyage at sea")
    args = parser.parse_args()

    register_with_transformers()
    name = str(Source(args.model).directory or args.model)  # the packaged model is a directory
    model = SentenceTransformer(name, device="cpu")
    scores = util.cos_sim(model.encode([args.query]), model.encode(SENTENCES))[0]
    for score, sentence in sorted(zip(scores.tolist(), SENTENCES, strict=True), reverse=True):
        print(f"{score:.3f}  {sentence}")


if __name__ == "__main__":
    main()
