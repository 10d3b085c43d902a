"""The contract between a fine-tuning task and the training loop: `Task` and `Split`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from albert_torch.heads import AlbertHeadModel
from albert_torch.outputs import ModelOutput
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.data import Batch, Inputs
from albert_torch.training.options import Options

if TYPE_CHECKING:
    from albert_torch.finetuning.config import FinetuningConfig


@dataclass
class Split:
    """One tokenized split of a data set.

    Attributes:
        examples: The inputs of the model, one dict per example: `input_ids`, mostly
            `token_type_ids`, and the labels of the head where they are known. The training loop
            pads them and adds the attention mask.
        references: What the task needs for scoring and predictions apart from the examples, for
            example the texts that `predictions` writes next to the labels, or the right answers of
            each question. Only the task reads it.
    """

    examples: list[Inputs]
    references: Any = None


class Task:
    """Base class of the fine-tuning tasks.

    A task reads its data, tokenizes it, names the head that it trains and scores the head's
    outputs. To add a task, derive from this class, set the class attributes, implement
    `load_split`, `score` and `predictions`, and register the class with `register_task`, or name it
    in the recipe as `task = "package.module:ClassName"`, or pass it to `finetune(...,
    task=ClassName)`. A task of one label per text that differs from "classification" only in its
    columns or metric derives from `SingleLabelClassification` instead.

    The trained model does not contain the task: `Encoder.classify` and `albert-torch classify`
    tokenize the texts they are given, and do not repeat what `load_split` does to them before. If
    it cleans or rewrites texts, do the same before you call them.

    Attributes:
        head_class: The model class to train.
        metric: The name of the score that selects the best checkpoint: a key of what `score`
            returns. Higher is better.
        options_class: The dataclass of the task's own options. A recipe holds them side by side
            with the keys of `FinetuningConfig`, and they are options of `albert-torch finetune`.
        config: The recipe of the run.
        tokenizer: The tokenizer of the model.
        options: The options of this run, an instance of `options_class`.
        max_length: The maximum number of tokens per example.
    """

    head_class: type[AlbertHeadModel]
    metric: str
    options_class: ClassVar[type[Options]] = Options
    options: Options

    def __init__(self, config: FinetuningConfig, tokenizer: AlbertTokenizer) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.options = self.options_class.from_dict(config.task_options)
        self.max_length = min(config.max_length, tokenizer.model_max_length)

    def load_split(self, name: str) -> Split | None:
        """Read and tokenize a split.

        Args:
            name: "train", "dev" or "test". The training split is loaded first, so a task may learn
                its label names from it.

        Returns:
            The split, or None if there is no such split. "train" and "dev" have labels; "test" has
            them if they are published.

        Raises:
            ValueError: The data do not fit the task.
        """
        raise NotImplementedError

    def model_config_overrides(self) -> dict[str, Any]:
        """Return the keys of `AlbertConfig` that the task determines, such as `num_labels`.

        It is called after the training split has been loaded.
        """
        return {}

    @property
    def num_classes(self) -> int:
        """The number of classes of which every example has one, or 0 if there are no such classes.

        Where it is at least 2, training is watched for collapse to a single class.
        """
        return 0

    def num_targets(self, example: Inputs) -> int:
        """Return the number of targets of an example: the terms that it adds to a batch's loss.

        The head's loss is a mean over the targets of its batch. When a batch is computed in parts,
        their losses are weighted with their numbers of targets, so that the result is the same.
        """
        return 1

    def randomize(self, examples: list[Inputs], seed: int) -> list[Inputs]:
        """Return the examples of one update with everything that is drawn anew each time.

        Args:
            examples: Examples of the training split.
            seed: A different number for every update, and the same one when the run is resumed.
        """
        return examples

    def collect_outputs(self, output: ModelOutput, batch: Batch) -> list[Any]:
        """Return what `score` and `predictions` need of a batch's output.

        Args:
            output: The output of the head, on the device of the model.
            batch: The inputs, padded, with `attention_mask` and labels.

        Returns:
            One item per example of the batch, on the CPU. The default is the row of `output.logits`
            in float32.
        """
        return list(output["logits"].float().cpu())

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        """Return the task's metrics by name; one of them is `metric`.

        Args:
            split: A split with labels.
            outputs: The items of `collect_outputs`, one per example.
        """
        raise NotImplementedError

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        """Return the lines of predictions.jsonl.

        Args:
            split: A split with or without labels.
            outputs: The items of `collect_outputs`, one per example.
        """
        raise NotImplementedError

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        truncation: bool | str = True,
    ) -> list[Inputs]:
        """Tokenize texts, or pairs of texts, and truncate them to `max_length` tokens.

        Args:
            texts: The texts, or the first texts of the pairs.
            pairs: The second texts, as many as `texts`.
            truncation: What to truncate, as in `AlbertTokenizer.__call__`.

        Returns:
            One dict per text with the lists `input_ids` and `token_type_ids`.
        """
        batch = self.tokenizer(
            list(texts),
            None if pairs is None else list(pairs),
            truncation=truncation,
            max_length=self.max_length,
            return_attention_mask=False,
        )
        return [
            {"input_ids": input_ids, "token_type_ids": token_type_ids}
            for input_ids, token_type_ids in zip(
                batch["input_ids"], batch["token_type_ids"], strict=True
            )
        ]
