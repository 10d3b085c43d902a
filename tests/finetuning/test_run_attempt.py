"""The batches of a fine-tuning run: what each process computes, at each step."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from helpers.small_runs import small_config

from albert_torch.finetuning import FinetuningConfig
from albert_torch.finetuning.finetune import load_datasets
from albert_torch.finetuning.run_attempt import FinetuningBatch, training_batches
from albert_torch.finetuning.tasks.classification import SingleLabelClassification
from albert_torch.training.data import count_tokens
from albert_torch.training.distributed import Runtime
from albert_torch.training.loop import RunContext

pytest.importorskip("accelerate")


class RecordsSeeds(SingleLabelClassification):
    """Classification that records the seed of each update, and gives examples as many targets."""

    def randomize(self, examples: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
        return [{**example, "seed": seed} for example in examples]

    def num_targets(self, example: dict[str, Any]) -> int:
        return count_tokens(example)


def batches(
    config: FinetuningConfig, count: int, first_step: int = 0, rank: int = 0, world_size: int = 1
) -> list[FinetuningBatch]:
    """The batches of one of several processes."""
    datasets = load_datasets(config, RecordsSeeds)
    runtime = Runtime(config)
    runtime.rank, runtime.world_size = rank, world_size
    runtime.num_micro_batches = world_size * config.gradient_accumulation_steps
    context = RunContext(config, Path(), runtime)
    return list(islice(training_batches(context, datasets.task, datasets.train, first_step), count))


def test_every_update_has_its_own_seed(tmp_path: Path) -> None:
    """Kills: the same masks at every step, or for every seed of the run."""
    updates = batches(small_config(tmp_path), 7)
    seeds = [batch.micro_batches[0][0]["seed"] for batch in updates]
    assert len(set(seeds)) == 7
    other_seeds = batches(small_config(tmp_path, seed=2), 7)
    assert not {batch.micro_batches[0][0]["seed"] for batch in other_seeds} & set(seeds)


def test_a_resumed_run_has_the_batches_of_the_whole_one(tmp_path: Path) -> None:
    """Kills: a resumed run that starts with the first batch, or with the seed of the first
    update.
    """
    config = small_config(tmp_path)
    assert batches(config, 3, first_step=4) == batches(config, 7)[4:]


def test_processes_and_micro_batches_share_the_examples(tmp_path: Path) -> None:
    """Kills: an example that two processes compute or none does, counts of one process only."""
    config = small_config(tmp_path, gradient_accumulation_steps=2)
    (whole,) = batches(small_config(tmp_path), 1)
    examples = whole.micro_batches[0]
    shares = [batches(config, 1, rank=rank, world_size=2)[0] for rank in (0, 1)]
    assert all(len(share.micro_batches) == 2 for share in shares)
    computed = [e for share in shares for micro_batch in share.micro_batches for e in micro_batch]
    assert len(computed) == len(examples) == 8
    assert all(example in examples for example in computed)
    num_tokens = sum(map(count_tokens, examples))
    for share in shares:
        assert (share.num_tokens, share.num_targets) == (num_tokens, num_tokens)
