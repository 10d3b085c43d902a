"""A pretraining run as people ask for it: the corpus tokenized once, a model trained from scratch or resumed."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import asdict
from pathlib import Path

from albert_torch.files import atomic_write_json, atomic_write_text
from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.corpus import list_files
from albert_torch.pretraining.examples import Examples
from albert_torch.pretraining.prepare import prepare_shards
from albert_torch.pretraining.shards import INDEX_FILE, Shards
from albert_torch.pretraining.trainer import (
    Pretrainer,
    PretrainingDatasets,
    PretrainingState,
    Result,
    held_out,
)
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training import checkpointing as states
from albert_torch.training.distributed import first_process, leave_at_exit
from albert_torch.training.model import load_tokenizer

logger = logging.getLogger(__name__)


def pretrain(recipe: PretrainingConfig, directory: str | Path, resume: bool = False) -> Result:
    """Train as the recipe says, into `directory`: the model in Hub layout, its tokenizer, the records, last.pt.

    The model is written with every checkpoint. `resume` continues a run that was killed, bit for bit.
    Raises `ValueError` or `FileNotFoundError` for a bad recipe or bad data, `Diverged` for a loss that is no number.
    """
    folder = Path(directory)
    states.refuse_second_run(folder, resume)
    if not recipe.corpus:
        raise ValueError(
            "the recipe names no corpus: give files or directories with text, or a Hub data set"
        )
    state = states.load(folder, PretrainingState) if resume else None
    tokenizer = load_tokenizer(recipe)
    trainer = Pretrainer(recipe, folder, tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    material = load(recipe, tokenizer, Path(recipe.cache) if recipe.cache else folder / "corpus")
    if first_process():
        atomic_write_text(folder / "recipe.toml", recipe.to_toml())
    result = trainer.run(material, state)
    if first_process():
        atomic_write_json(folder / "result.json", asdict(result))
    leave_at_exit()
    return result


def load(recipe: PretrainingConfig, tokenizer: AlbertTokenizer, cache: Path) -> PretrainingDatasets:
    """The corpus in `cache`, tokenized there if it is not yet, and the rows to evaluate on."""
    shards = _shards(recipe, tokenizer, cache / "train", without(recipe.corpus, recipe.dev))
    logger.info(
        "corpus: %d documents, %d sentences, %d tokens",
        shards.document_count,
        shards.sentence_count,
        shards.tokens,
    )
    rows = []
    if recipe.dev:
        dev = _shards(recipe, tokenizer, cache / "dev", recipe.dev)
        rows = held_out(_examples(recipe, tokenizer, dev, seed=0), recipe.max_dev_examples)
        logger.info("evaluation: %d rows", len(rows))
    else:
        logger.warning("no dev texts: the model is not evaluated")
    return PretrainingDatasets(
        _examples(recipe, tokenizer, shards, recipe.seed), rows, shards.description
    )


def without(corpus: list[str], dev: list[str]) -> list[str]:
    """The corpus's paths, its directories as lists of files where texts of `dev` lie in them.

    Raises `ValueError` when nothing is left, or a Hub data set is both: its rows cannot be told apart.
    """
    if both := sorted(path for path in {*corpus} & {*dev} if not Path(path).exists()):
        raise ValueError(f"{both[0]} is both corpus and dev: evaluate on other texts")
    held = {file.resolve() for path in dev if Path(path).exists() for _, file in list_files(path)}
    paths: list[str] = []
    for path in corpus:
        found = [file for _, file in list_files(path)] if Path(path).exists() else []
        kept = [str(file) for file in found if file.resolve() not in held]
        paths += [path] if len(kept) == len(found) else kept
    if not paths:
        raise ValueError(
            f"dev ({', '.join(dev)}) holds out the whole corpus: leave something to train on"
        )
    return paths


def _examples(
    recipe: PretrainingConfig, tokenizer: AlbertTokenizer, shards: Shards, seed: int
) -> Examples:
    options = recipe.example_options(tokenizer.model_max_length)
    return Examples(shards, tokenizer, options, seed=seed)


def _shards(
    recipe: PretrainingConfig, tokenizer: AlbertTokenizer, folder: Path, paths: list[str]
) -> Shards:
    """The tokenized corpus; one process on each machine makes it, the others wait."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    if not first:
        if not (folder / INDEX_FILE).exists():
            logger.info("waiting for %s, which the first process on this machine makes", folder)
        while not (folder / INDEX_FILE).exists():
            time.sleep(0.2)
    return prepare_shards(folder, paths, tokenizer, recipe.corpus_format, progress=first)
