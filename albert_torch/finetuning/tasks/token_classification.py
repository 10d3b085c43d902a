"""Token classification: a tag for each word, from CoNLL files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from albert_torch.finetuning import metrics
from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.splits import locate, pick, read_rows
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.heads import AlbertForTokenClassification
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.data import Batch, Inputs

Sentence = tuple[list[str], list[str]]  # words and tags
_FILES = {"train": ("eng.train",), "dev": ("valid.txt", "eng.testa"), "test": ("eng.testb",)}


class Tagging(Task):
    """Entities, parts of speech and the like: the first piece of a word carries its tag, the others none."""

    head = AlbertForTokenClassification
    metric = "f1"

    def __init__(self, recipe: FinetuningConfig, tokenizer: AlbertTokenizer) -> None:
        super().__init__(recipe, tokenizer)
        self.labels = list(recipe.labels)

    def load(self, split: str) -> Split | None:
        """The sentences of a split; tags are those of the training file, unless the recipe names them."""
        sentences = self._sentences(split)
        if sentences is None:
            return None
        if not sentences:
            raise ValueError(f"the {split} split has no sentences: it needs at least one")
        if not self.labels:
            self.labels = sorted(
                {tag for _, tags in sentences for tag in tags}, key=lambda tag: (tag != "O", tag)
            )
        found = [self._row(words, tags, split) for words, tags in sentences]
        if split == "train":  # a row of words that are all unknown to the tokenizer teaches nothing
            return Split([row for row, tagged in found if tagged])
        source = [
            (words, tags, tagged)
            for (words, tags), (_, tagged) in zip(sentences, found, strict=True)
        ]
        return Split([row for row, _ in found], source)

    def _row(self, words: list[str], tags: list[str], split: str) -> tuple[Inputs, list[int]]:
        """A row with its labels, and which words they are of: those cut off, or of no piece, have none."""
        batch = self.tokenizer(
            [words],
            is_split_into_words=True,
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=False,
        )
        row = {name: batch[name][0] for name in ("input_ids", "token_type_ids")}
        row["labels"], tagged, before = [], [], None
        for word in batch.word_ids(0):
            if word is None or word == before:
                row["labels"].append(-100)
            elif tags[word] not in self.labels:
                raise ValueError(
                    f"the {split} split has the tag {tags[word]!r}; the tags are {', '.join(self.labels)}"
                )
            else:
                row["labels"].append(self.labels.index(tags[word]))
                tagged.append(word)
            before = word
        return row, tagged

    def _sentences(self, split: str) -> list[Sentence] | None:
        path = locate(self.recipe, split, f"{split}.txt", *_FILES[split])
        if path is not None and path.suffix not in (".json", ".jsonl", ".parquet"):
            return list(read_conll(path))
        rows = read_rows(self.recipe, split)
        if rows is None:
            return None
        names = (self.recipe.text or "tokens", self.recipe.label or "ner_tags")
        columns = pick(rows, f"the {split} split", names)
        named = (
            self.labels or None
        )  # the Hub's tags are numbers: the recipe's `labels` says what they mean
        return [
            (list(words), [named[t] if named and isinstance(t, int) else str(t) for t in tags])
            for words, tags in columns
        ]

    def model_options(self) -> dict[str, Any]:
        """The tags and their names."""
        return {"id2label": dict(enumerate(self.labels))}

    def targets(self, row: Inputs) -> int:
        """Words of a row."""
        return sum(label != -100 for label in row["labels"])

    def keep(self, output: Any, batch: Batch) -> list[Any]:
        """The best tag at each word's first piece."""
        best = output.logits.argmax(-1)
        return [
            row[labels != -100].tolist()
            for row, labels in zip(best.cpu(), batch["labels"].cpu(), strict=True)
        ]

    def score(self, split: Split, kept: list[Any]) -> dict[str, float]:
        """Entity precision, recall and F1, and the share of right words; words cut off count as "O"."""
        predicted, right = self._named(split, kept), [tags for _, tags, _ in split.source]
        flat = [
            [tag == other for tag, other in zip(a, b, strict=True)]
            for a, b in zip(predicted, right, strict=True)
        ]
        hits, words = sum(map(sum, flat)), sum(map(len, flat))
        return {**metrics.entity_f1(predicted, right), "accuracy": 100 * hits / words}

    def predictions(self, split: Split, kept: list[Any]) -> list[dict[str, Any]]:
        """Words and their tags."""
        named = self._named(split, kept)
        return [
            {"words": words, "prediction": tags}
            for (words, _, _), tags in zip(split.source, named, strict=True)
        ]

    def _named(self, split: Split, kept: list[Any]) -> list[list[str]]:
        rest = "O" if "O" in self.labels else self.labels[0]
        named = [[rest] * len(words) for words, _, _ in split.source]
        for tags, (_, _, tagged), best in zip(named, split.source, kept, strict=True):
            for word, label in zip(tagged, best, strict=True):
                tags[word] = self.labels[label]
        return named


def read_conll(path: Path) -> Iterator[Sentence]:
    """The sentences of a CoNLL file: a word and its columns a line, the last one the tag; empty lines between."""
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate((*path.read_text(encoding="utf-8").split("\n"), ""), 1):
        cells = line.split()
        if cells and cells[0] != "-DOCSTART-":
            if len(cells) < 2:
                raise ValueError(f"{path}, line {number}: {line!r} needs a word and a tag")
            words.append(cells[0])
            tags.append(cells[-1])
        elif words:
            yield words, tags
            words, tags = [], []
