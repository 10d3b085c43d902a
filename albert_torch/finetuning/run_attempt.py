"""`run_attempt`: train one attempt at a fine-tuning run, from its batches to its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

from torch import Tensor, nn

from albert_torch.finetuning.attempt import Attempt, FinetuningResult
from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.evaluation import evaluate, save_best, stop_reason
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.training.data import (
    Inputs,
    batch_indices,
    collate,
    count_tokens,
    example_length,
)
from albert_torch.training.distributed import Runtime
from albert_torch.training.loop import (
    RunContext,
    TrainingBatch,
    TrainingFunctions,
    step_seed,
    train,
)


@dataclass
class FinetuningBatch(TrainingBatch):
    """A batch that also knows the number of targets, which its loss is the mean over."""

    num_targets: int


def run_attempt(
    attempt: Attempt,
    stop_on_collapse: bool = False,
    on_update: Callable[[int], None] | None = None,
) -> FinetuningResult:
    """Train to the end of an attempt; its directory then holds the best model.

    Args:
        attempt: The attempt, new or restored.
        stop_on_collapse: Whether the attempt ends when the model has collapsed.
        on_update: Called at the end of each update with the number of updates done.

    Raises:
        Diverged: The loss or the norm of the gradients became NaN or infinite.
        OSError: The disk is full.
    """
    context, task, dev, state = (
        attempt.context,
        attempt.datasets.task,
        attempt.datasets.dev,
        attempt.state,
    )
    functions = TrainingFunctions(
        metric_names=("loss",),
        compute_metrics=partial(compute_loss, context.runtime, attempt.learner.model, task),
        evaluate=partial(evaluate, attempt, dev, stop_on_collapse) if dev is not None else None,
        on_update=on_update,
    )
    # An attempt that ended before its last step stays so when it is resumed.
    ending = stop_reason(attempt, stop_on_collapse)
    if ending is None:
        batches = training_batches(context, task, attempt.datasets.train, state.step)
        ending = train(context, attempt.learner, batches, functions, state)
    if dev is None:
        save_best(attempt)  # without evaluations, the last model is the best one
    return FinetuningResult(
        stop_reason=ending,
        step=state.step,
        metric=attempt.metric,
        best=state.best,
        best_step=state.best_step,
        scores=state.best_scores,
        attempt=state.attempt,
        collapsed=state.collapsed,
    )


def training_batches(
    context: RunContext[FinetuningConfig], task: Task, split: Split, first_step: int
) -> Iterator[FinetuningBatch]:
    """Yield the batches of this process from an update on, without end."""
    config, runtime = context.config, context.runtime
    lengths = [example_length(example) for example in split.examples]
    batches = batch_indices(lengths, config.batch_size, config.batching, config.seed)
    for step, indices in enumerate(islice(batches, first_step, None), first_step):
        examples = task.randomize([split.examples[i] for i in indices], step_seed(config, step))
        own_micro_batches = range(runtime.rank, runtime.num_micro_batches, runtime.world_size)
        yield FinetuningBatch(
            micro_batches=[examples[i :: runtime.num_micro_batches] for i in own_micro_batches],
            num_tokens=sum(map(count_tokens, examples)),
            description=f"the training examples {indices}",
            position=(),
            num_targets=sum(map(task.num_targets, examples)),
        )


def compute_loss(
    runtime: Runtime,
    model: nn.Module,
    task: Task,
    batch: FinetuningBatch,
    micro_batch: list[Inputs],
) -> Tensor:
    """Return a micro-batch's share of the mean loss over all targets of the batch, (1,)."""
    inputs = collate(micro_batch, task.tokenizer.pad_token_id)
    with runtime.autocast():
        loss: Tensor = model(**runtime.to_device(inputs)).loss
    share = sum(map(task.num_targets, micro_batch)) / batch.num_targets
    return (loss * share).reshape(1)
