"""`pretrain`: a whole pretraining run, from text files to a model."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice, takewhile
from pathlib import Path

from albert_torch.files import atomic_write_json, atomic_write_text
from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.corpus import list_files
from albert_torch.pretraining.examples import Examples
from albert_torch.pretraining.prepare import prepare_shards
from albert_torch.pretraining.shards import INDEX_FILE, Shards
from albert_torch.pretraining.trainer import (
    PretrainingDatasets,
    PretrainingResult,
    PretrainingRun,
    PretrainingState,
    build_objective,
    run_training,
    start_learner,
    start_state,
)
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.checkpointing import RECIPE_FILE, load_checkpoint, refuse_second_run
from albert_torch.training.data import Inputs
from albert_torch.training.distributed import (
    Runtime,
    leave_process_group_at_exit,
)
from albert_torch.training.loop import RunContext
from albert_torch.training.model import load_tokenizer

logger = logging.getLogger(__name__)


def pretrain(
    config: PretrainingConfig,
    directory: str | Path,
    *,
    resume: bool = False,
    on_update: Callable[[int], None] | None = None,
) -> PretrainingResult:
    """Pretrain a model and write it, its tokenizer and the metrics to a directory.

    The model is written with every checkpoint.

    Args:
        config: The options of the run.
        directory: Where the files are written.
        resume: Continue a run that was interrupted, bit for bit. Starts a new run if there is no
            checkpoint yet.
        on_update: Called at the end of each update with the number of updates done. An exception
            that it raises ends the run, which can be resumed.

    Raises:
        ValueError: Config, corpus and tokenizer do not fit each other, the directory holds another
            run, or (as `Diverged`) the loss became NaN or infinite.
        FileNotFoundError: The tokenizer or the texts are missing.
        OSError: The disk is full. The last checkpoint is unchanged.
    """
    directory = Path(directory)
    refuse_second_run(directory, resume)
    if not config.corpus:
        raise ValueError(
            "the recipe names no corpus: set it to files or directories of text, or a Hub data set"
        )
    checkpoint = load_checkpoint(directory, PretrainingState) if resume else None
    tokenizer = load_tokenizer(config)
    context = RunContext(config, directory, Runtime(config))
    # The model comes first, so that a config that cannot run fails before a corpus is tokenized.
    objective = build_objective(config, tokenizer)
    learner = start_learner(context, objective)
    directory.mkdir(parents=True, exist_ok=True)
    cache = Path(config.cache) if config.cache else directory / "corpus"
    datasets = load_datasets(config, tokenizer, cache)
    if context.runtime.is_main:
        atomic_write_text(directory / RECIPE_FILE, config.to_toml())
    state = start_state(config, learner, datasets, checkpoint)
    del checkpoint  # its weights are in the model now
    if context.runtime.is_main:
        tokenizer.save_pretrained(directory)
    run = PretrainingRun(context, tokenizer, datasets, objective, learner, state)
    result = run_training(run, on_update)
    if context.runtime.is_main:
        atomic_write_json(directory / "result.json", asdict(result))
    leave_process_group_at_exit()
    return result


def load_datasets(
    config: PretrainingConfig, tokenizer: AlbertTokenizer, cache: Path
) -> PretrainingDatasets:
    """Return the examples of a run; its texts are tokenized if that has not been done before.

    Args:
        config: The options of the run.
        tokenizer: The tokenizer of the run.
        cache: Where the tokenized texts are kept.

    Raises:
        ValueError: The texts do not fit the options.
        FileNotFoundError: Some texts are missing.
    """
    paths = without_dev(config.corpus, config.dev)
    shards = _prepare_shards(config, tokenizer, cache / "train", paths)
    logger.info(
        "corpus: %d documents, %d sentences, %d tokens",
        shards.document_count,
        shards.sentence_count,
        shards.tokens,
    )
    dev: list[Inputs] = []
    if config.dev:
        dev_shards = _prepare_shards(config, tokenizer, cache / "dev", config.dev)
        dev = first_epoch(
            _build_examples(config, tokenizer, dev_shards, seed=0), config.max_dev_examples
        )
        logger.info("dev: %d examples", len(dev))
    else:
        logger.warning("there are no dev texts: the model is not evaluated")
    examples = _build_examples(config, tokenizer, shards, config.seed)
    return PretrainingDatasets(examples, dev, shards.description)


def first_epoch(examples: Examples, max_examples: int) -> list[Inputs]:
    """Return the first examples of the first epoch, at most `max_examples` of them."""
    plans = (plan for plan, _ in examples.plans())
    of_first_epoch = takewhile(lambda plan: plan.epoch == 0, plans)
    return [examples.build(plan) for plan in islice(of_first_epoch, max_examples)]


def without_dev(corpus: list[str], dev: list[str]) -> list[str]:
    """Return the paths of a corpus without the files that are evaluated on.

    A directory that holds such files is replaced by the list of its other files.

    Raises:
        ValueError: Nothing is left, or a Hub data set is in both lists.
    """
    in_both = sorted(path for path in {*corpus} & {*dev} if not Path(path).exists())
    if in_both:
        raise ValueError(
            f"{in_both[0]} is both corpus and dev: evaluate on texts that are not trained on"
        )
    dev_files = {
        file.resolve() for path in dev if Path(path).exists() for _, file in list_files(path)
    }
    paths: list[str] = []
    for path in corpus:
        path_files = [file for _, file in list_files(path)] if Path(path).exists() else []
        kept = [str(file) for file in path_files if file.resolve() not in dev_files]
        paths += [path] if len(kept) == len(path_files) else kept
    if not paths:
        raise ValueError(
            f"dev ({', '.join(dev)}) contains the whole corpus: leave something to train on"
        )
    return paths


def _build_examples(
    config: PretrainingConfig, tokenizer: AlbertTokenizer, shards: Shards, seed: int
) -> Examples:
    options = config.example_options(tokenizer.model_max_length)
    return Examples(shards, tokenizer, options, seed=seed)


def _prepare_shards(
    config: PretrainingConfig, tokenizer: AlbertTokenizer, directory: Path, paths: list[str]
) -> Shards:
    """Return the tokenized texts; one process on each machine makes them, the others wait."""
    is_first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    if not is_first_here:
        if not (directory / INDEX_FILE).exists():
            logger.info("waiting for the first process on this machine to make %s", directory)
        while not (directory / INDEX_FILE).exists():
            time.sleep(0.2)
    return prepare_shards(directory, paths, tokenizer, config.corpus_format, progress=is_first_here)
