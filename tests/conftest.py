"""Configuration of the test run: markers that skip tests, and a seed and one thread for each."""

import importlib.metadata
import os
from pathlib import Path

import pytest
import torch
from helpers.constants import ASSETS


def skip_reasons() -> dict[str, str]:
    """The markers whose tests cannot run here, and why."""
    reasons = {}
    if not ASSETS.is_dir():
        reasons["assets"] = f"{ASSETS} does not exist: set $ALBERT_TORCH_ASSETS"
    if not os.environ.get("ALBERT_TORCH_NETWORK"):
        reasons["network"] = "needs the Hub: set $ALBERT_TORCH_NETWORK=1"
    if not os.environ.get("ALBERT_TORCH_SLOW"):
        reasons["slow"] = "takes minutes: set $ALBERT_TORCH_SLOW=1"
    if not torch.cuda.is_available():
        reasons["gpu"] = "needs a CUDA device"
    transformers_version = importlib.metadata.version("transformers")
    if int(transformers_version.partition(".")[0]) < 5:
        reasons["transformers5"] = f"transformers {transformers_version} differs from version 5"
    return reasons


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, reason in skip_reasons().items():
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def assets() -> Path:
    """The directory that holds `assets/` and `data/`."""
    return ASSETS


torch.set_num_threads(1)  # the models are tiny: starting threads costs more than they save


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
