"""Small tasks on files in a folder, and the formats of those files."""

import json
import random
from pathlib import Path
from typing import Any

import torch

from albert_torch.finetuning import FinetuningConfig
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.finetuning.tasks.registry import make_task
from albert_torch.training.model import load_tokenizer
from helpers.small_runs import WORDS, vocabulary


def make_small_task(folder: Path, name: str, **options: Any) -> Any:
    """A task on the files in `folder`, with a vocabulary of `WORDS`."""
    values = {
        "task": name,
        "tokenizer": str(vocabulary(folder / "vocabulary")),
        "data": str(folder),
        "max_length": 40,
    }
    config = FinetuningConfig.from_dict({**values, **options})
    return make_task(config, load_tokenizer(config))


def write_tsv(path: Path, *rows: str) -> None:
    """Write a .tsv file whose rows are given with | between the cells."""
    text = "\n".join(row.replace("|", "\t") for row in rows)
    path.write_text(text + "\n", encoding="utf-8")


def pieces(task: Task, input_ids: list[int]) -> str:
    """The pieces of an example, with spaces between them."""
    return " ".join(task.tokenizer.convert_ids_to_tokens(input_ids))


def write_squad(path: Path, count: int = 24, impossible: bool = False, shift: int = 0) -> Path:
    """Questions whose answer is "good" and two more words.

    Args:
        path: The file to write.
        count: The number of questions.
        impossible: Whether every third question has no answer; its text has "bad" instead of
            "good".
        shift: Added to the positions of the answers.
    """
    rng, paragraphs = random.Random(0), []
    for i in range(count):
        words = [rng.choice(WORDS[:30]) for _ in range(rng.randint(6, 40))]
        at = rng.randrange(len(words) - 2)
        words[at] = "good"
        context = " ".join(words)
        answer = {
            "text": " ".join(words[at : at + 3]),
            "answer_start": context.index("good") + shift,
        }
        without_answer = impossible and i % 3 == 0
        question = {
            "id": str(i),
            "question": "what cause",
            "answers": [] if without_answer else [answer],
            "is_impossible": without_answer,
        }
        text = context.replace("good", "bad") if without_answer else context
        paragraphs.append({"context": text, "qas": [question]})
    article = {"title": "t", "paragraphs": paragraphs}
    path.write_text(json.dumps({"version": "x", "data": [article]}))
    return path


def outputs_equal_to_labels(split: Split, with_head: bool = False) -> list[Any]:
    """Outputs of question answering that predict the labels; [CLS] in windows without the answer.

    `with_head`: "no answer" has an output of its own.
    """
    outputs = []
    for example in split.examples:
        start, end = torch.zeros(2, len(example["input_ids"]))
        start[example["start_positions"]] += 9
        end[example["end_positions"]] += 9
        log_odds = 9.0 * (2 * (example["start_positions"] == 0) - 1)
        outputs.append((start, end, log_odds if with_head else float(start[0] + end[0])))
    return outputs
