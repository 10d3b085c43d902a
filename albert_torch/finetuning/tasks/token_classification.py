"""Token classification: a tag for each word, such as named entities or parts of speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from albert_torch.finetuning import metrics
from albert_torch.finetuning.splits import find_split_file, read_split, select_columns
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.finetuning.tasks.formats.conll import TaggedSentence, read_conll
from albert_torch.finetuning.tasks.registry import register_task
from albert_torch.heads import AlbertForTokenClassification
from albert_torch.losses import IGNORE_INDEX
from albert_torch.outputs import ModelOutput
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.data import Batch, Inputs
from albert_torch.training.options import Options, option

if TYPE_CHECKING:
    from albert_torch.finetuning.config import FinetuningConfig

CONLL_FILES = {
    "train": ("train.txt", "eng.train"),
    "dev": ("dev.txt", "valid.txt", "eng.testa"),
    "test": ("test.txt", "eng.testb"),
}
TABLE_SUFFIXES = (".json", ".jsonl", ".parquet")  # formats whose cells can hold lists
OUTSIDE = "O"  # the tag of a word that belongs to no entity


@dataclass
class TokenClassificationOptions(Options):
    """The columns of tables with lists of words and tags, and the names of the tags."""

    text: str = option("tokens", "column with the list of words")
    label: str = option("ner_tags", "column with the list of tags, names or numbers")
    labels: list[str] = option(
        [], "tag names in the order of their numbers; empty: those of the training file"
    )


class TaggedExample(NamedTuple):
    """A sentence with its tags, and the words that have a label: others were truncated or empty."""

    words: list[str]
    tags: list[str]
    labelled_words: list[int]


@register_task("conll")
class TokenClassification(Task):
    """A tag for each word. The first piece of a word carries the label, the others are ignored.

    Attributes:
        labels: The tag names in the order of the head's outputs: those of the recipe, or else of
            the first split that is loaded, with "O" first.
    """

    head_class = AlbertForTokenClassification
    metric = "f1"
    options_class = TokenClassificationOptions
    options: TokenClassificationOptions

    def __init__(self, config: FinetuningConfig, tokenizer: AlbertTokenizer) -> None:
        super().__init__(config, tokenizer)
        self.labels = list(self.options.labels)

    def load_split(self, name: str) -> Split | None:
        """Read a split from a CoNLL file, or from a table with lists of words and tags."""
        sentences = self._read_sentences(name)
        if sentences is None:
            return None
        if not sentences:
            raise ValueError(f"the {name} split has no sentences: it needs at least one")
        if not self.labels:
            tags = {tag for _, sentence_tags in sentences for tag in sentence_tags}
            self.labels = sorted(tags, key=lambda tag: (tag != OUTSIDE, tag))
        examples: list[Inputs] = []
        references: list[TaggedExample] = []
        for words, tags_of_words in sentences:
            example, labelled_words = self._encode_sentence(words, tags_of_words, name)
            if name == "train" and not labelled_words:
                continue  # a sentence in which no word has a token teaches nothing
            examples.append(example)
            references.append(TaggedExample(words, tags_of_words, labelled_words))
        return Split(examples, references)

    def _read_sentences(self, split: str) -> list[TaggedSentence] | None:
        path = find_split_file(self.config, split, *CONLL_FILES[split])
        if path is not None and path.suffix not in TABLE_SUFFIXES:
            return list(read_conll(path))
        rows = read_split(self.config, split)
        if rows is None:
            return None
        names = (self.options.text, self.options.label)
        columns = select_columns(rows, f"the {split} split", names, options="text and label")
        return [(list(words), self._tag_names(tags)) for words, tags in columns]

    def _tag_names(self, tags: Sequence[int | str]) -> list[str]:
        """Tags as names. Numbers, as on the Hub, index the option `labels` if it is given."""
        return [
            self.labels[tag] if self.labels and isinstance(tag, int) else str(tag) for tag in tags
        ]

    def _encode_sentence(
        self, words: list[str], tags: list[str], split: str
    ) -> tuple[Inputs, list[int]]:
        """Tokenize a sentence; return the example and the indices of the words with a label."""
        batch = self.tokenizer(
            [words],
            is_split_into_words=True,
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=False,
        )
        labels: list[int] = []
        labelled_words: list[int] = []
        previous_word = None
        for word in batch.word_ids(0):
            if word is None or word == previous_word:
                labels.append(IGNORE_INDEX)
            else:
                labels.append(self._label(tags[word], split))
                labelled_words.append(word)
            previous_word = word
        example: Inputs = {key: batch[key][0] for key in ("input_ids", "token_type_ids")}
        return {**example, "labels": labels}, labelled_words

    def _label(self, tag: str, split: str) -> int:
        if tag not in self.labels:
            raise ValueError(
                f"the {split} split has the tag {tag!r}; the tags are {', '.join(self.labels)}"
            )
        return self.labels.index(tag)

    def model_config_overrides(self) -> dict[str, Any]:
        """Return the tag names."""
        return {"id2label": dict(enumerate(self.labels))}

    def num_targets(self, example: Inputs) -> int:
        """Return the number of words with a label."""
        return sum(label != IGNORE_INDEX for label in example["labels"])

    def collect_outputs(self, output: ModelOutput, batch: Batch) -> list[Any]:
        """Return the index of the most probable tag of each word with a label, per example."""
        predicted, labels = output["logits"].argmax(-1).cpu(), batch["labels"].cpu()
        return [
            row[row_labels != IGNORE_INDEX].tolist()
            for row, row_labels in zip(predicted, labels, strict=True)
        ]

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        """Return precision, recall and F1 of whole entities, and the share of words tagged right.

        Words that were truncated count as tagged "O".
        """
        predicted = self._predicted_tags(split, outputs)
        expected = [reference.tags for reference in split.references]
        correct = sum(
            tag == expected_tag
            for tags, expected_tags in zip(predicted, expected, strict=True)
            for tag, expected_tag in zip(tags, expected_tags, strict=True)
        )
        num_words = sum(len(tags) for tags in expected)
        return {**metrics.entity_f1(predicted, expected), "accuracy": 100 * correct / num_words}

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        """Return the words and tags of each sentence."""
        return [
            {"words": reference.words, "prediction": tags}
            for reference, tags in zip(
                split.references, self._predicted_tags(split, outputs), strict=True
            )
        ]

    def _predicted_tags(self, split: Split, outputs: list[Any]) -> list[list[str]]:
        default = OUTSIDE if OUTSIDE in self.labels else self.labels[0]
        predicted = []
        for reference, labels in zip(split.references, outputs, strict=True):
            tags = [default] * len(reference.words)
            for word, label in zip(reference.labelled_words, labels, strict=True):
                tags[word] = self.labels[label]
            predicted.append(tags)
        return predicted
