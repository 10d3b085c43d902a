"""Train a question-answering model on a SQuAD file, and ask about a document.

    pip install 'albert-torch[train,inference]'
    python examples/question_answering.py --train train-v1.1.json \\
        --model albert/albert-base-v2 --steps 3649

Without arguments it trains on three questions, which is enough to see how the parts fit together.
"""

import argparse
import json
import tempfile
from pathlib import Path

from albert_torch import Encoder
from albert_torch.finetuning import FinetuningConfig, finetune

CONTEXT = "The ship left Bristol in May. Its captain was Ann Hale. The cargo was tea and silver."
QUESTIONS = {
    "Where did the ship leave from?": "Bristol",
    "Who was the captain?": "Ann Hale",
    "What was the cargo?": "tea and silver",
}


def write_squad(path: Path) -> None:
    """Write the questions in the format of SQuAD v1.1."""
    questions = [
        {
            "id": str(number),
            "question": question,
            "answers": [{"text": answer, "answer_start": CONTEXT.index(answer)}],
        }
        for number, (question, answer) in enumerate(QUESTIONS.items())
    ]
    article = {"title": "Ship", "paragraphs": [{"context": CONTEXT, "qas": questions}]}
    path.write_text(json.dumps({"version": "1.1", "data": [article]}))


def main() -> None:
    """Train, and print the answers with their positions and probabilities."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, help="a SQuAD v1.1 file (default: three questions)")
    parser.add_argument("--model", default="albert-torch/nano")
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        train = args.train or Path(folder) / "train.json"
        if args.train is None:
            write_squad(train)
        config = FinetuningConfig.from_dict(
            {
                "task": "squad1",
                "model": args.model,
                "train": str(train),
                "dev": "none",
                "max_length": 128,
                "doc_stride": 32,
                "batch_size": 3,
                "steps": args.steps,
                "warmup_steps": max(1, args.steps // 10),
                "learning_rate": 5e-4,
            }
        )
        run = Path(folder) / "run"
        finetune(config, run)
        encoder = Encoder.from_pretrained(run)
        for question in QUESTIONS:
            answer = encoder.answer(question, CONTEXT)
            place = f"characters {answer.start} to {answer.end}"
            print(f"{question}  {answer.text}  ({answer.score:.0%}, {place})")


if __name__ == "__main__":
    main()
