"""Generated checkpoints for the tests of the parity check."""

from pathlib import Path

import pytest
from helpers.constants import TINY
from helpers.parity_reports import OUR_HEADS

from albert_torch.parity.reference import generate_checkpoint


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint for each head, with several groups of several layers; do not write to them."""
    directories = {}
    for head in OUR_HEADS:
        directories[head] = tmp_path_factory.mktemp(head)
        generate_checkpoint(head, {**TINY, "max_position_embeddings": 32}, directories[head], 0)
    return directories
