"""A saved checkpoint that the tests of this folder load, copy and damage."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers.checkpoint_files import CONFIG

from albert_torch import AlbertConfig, AlbertForPreTraining


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AlbertForPreTraining as safetensors. Tests must not write to it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved")
    AlbertForPreTraining(AlbertConfig(**CONFIG)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of `saved` that a test may change."""
    return shutil.copytree(saved, tmp_path / "copy")
