"""Tokenized examples, batches of tensors, and the order in which examples are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from albert_torch.losses import IGNORE_INDEX

Inputs = dict[str, Any]  # one example: lists of ids (a list of lists for multiple choice), labels
Batch = dict[str, Tensor]

POOL_BATCHES = 50  # batches whose examples are sorted by length together


def example_length(example: Inputs) -> int:
    """Return the number of tokens of an example; for multiple choice, of its longest choice."""
    ids = example["input_ids"]
    return max(map(len, ids)) if isinstance(ids[0], list) else len(ids)


def count_tokens(example: Inputs) -> int:
    """Return the number of tokens of an example, over all of its choices."""
    ids = example["input_ids"]
    return sum(map(len, ids)) if isinstance(ids[0], list) else len(ids)


def count_targets(example: Inputs) -> int:
    """Return the number of tokens of an example that have a label to predict."""
    return sum(label != IGNORE_INDEX for label in example["labels"])


def collate(examples: Sequence[Inputs], pad_token_id: int) -> Batch:
    """Pad examples to the longest of them and return tensors, with an attention mask.

    Args:
        examples: Examples with the same keys. `labels` may be one value, or a list with a label
            for each token.
        pad_token_id: The id that `input_ids` are padded with. Labels of tokens are padded with
            `IGNORE_INDEX`.

    Returns:
        `input_ids`, `token_type_ids` and `attention_mask` of shape (B, T), or (B, C, T) with C
        choices per example; labels of tokens of shape (B, T); other values of shape (B, ...).
    """
    first = examples[0]
    num_choices = len(first["input_ids"]) if isinstance(first["input_ids"][0], list) else 0

    def sequences(name: str) -> list[list[int]]:
        """The values of a key, one list for each example or choice."""
        if num_choices:
            return [choice for example in examples for choice in example[name]]
        return [example[name] for example in examples]

    input_ids = sequences("input_ids")
    longest = max(map(len, input_ids))
    shape = (len(examples), num_choices, longest) if num_choices else (len(examples), longest)
    mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids in input_ids]
    batch = {"attention_mask": torch.tensor(mask).view(shape)}
    for name, value in first.items():
        if name in ("input_ids", "token_type_ids"):
            padding = pad_token_id if name == "input_ids" else 0
            batch[name] = torch.tensor(_pad(sequences(name), longest, padding)).view(shape)
        elif _is_label_per_token(value, first):
            labels = [example[name] for example in examples]
            batch[name] = torch.tensor(_pad(labels, longest, IGNORE_INDEX))
        else:
            batch[name] = torch.tensor([example[name] for example in examples])
    return batch


def _pad(sequences: list[list[int]], length: int, value: int) -> list[list[int]]:
    return [sequence + [value] * (length - len(sequence)) for sequence in sequences]


def _is_label_per_token(value: Any, example: Inputs) -> bool:
    return (
        isinstance(value, list)
        and len(value) == example_length(example)
        and isinstance(value[0], int)
    )


def batch_indices(
    lengths: Sequence[int], batch_size: int, batching: str, seed: int
) -> Iterator[list[int]]:
    """Yield batches of example numbers without end; they depend on nothing but the arguments.

    An epoch's last batch is left out if it is not full.

    Args:
        lengths: The number of tokens of each example.
        batch_size: The number of examples in a batch; lowered to the number of examples.
        batching: "length" puts examples of similar length together and shuffles the batches,
            "random" shuffles the examples, "file" keeps their order.
        seed: The seed of the order.
    """
    batch_size = min(batch_size, len(lengths))
    num_used = len(lengths) // batch_size * batch_size
    generator = torch.Generator().manual_seed(seed)
    while True:
        indices = list(range(len(lengths)))
        if batching != "file":
            indices = torch.randperm(len(lengths), generator=generator).tolist()
        indices = indices[:num_used]
        if batching == "length":
            # Sorting all examples at once would give every epoch the same batches.
            pool_size = POOL_BATCHES * batch_size
            pools = [indices[i : i + pool_size] for i in range(0, num_used, pool_size)]
            indices = [i for pool in pools for i in sorted(pool, key=lengths.__getitem__)]
        epoch = [indices[i : i + batch_size] for i in range(0, num_used, batch_size)]
        if batching == "length":
            order = torch.randperm(len(epoch), generator=generator).tolist()
            epoch = [epoch[i] for i in order]
        yield from epoch


def evaluation_batches(
    examples: Sequence[Inputs], batch_size: int, rank: int, world_size: int
) -> Iterator[tuple[list[int], bool]]:
    """Yield this process's batches of an evaluation as example numbers, longest examples first.

    A sharded model needs the same number of calls on every process. If the batches do not divide
    evenly, some processes therefore repeat the first batch at the end.

    Yields:
        The numbers of the examples, and whether they count (False for a repeated batch).
    """
    order = sorted(range(len(examples)), key=lambda i: -example_length(examples[i]))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    for i in range(rank, rank + len(batches), world_size):
        if i < len(batches):
            yield batches[i], True
        else:
            yield batches[0], False
