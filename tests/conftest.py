"""What the tests share: where the assets are, which markers skip, and models whose every parameter is drawn."""

import os
from pathlib import Path

import pytest
import torch
from helpers.constants import ASSETS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {
        "assets": None if ASSETS.is_dir() else f"no assets in {ASSETS}: set $ALBERT_TORCH_ASSETS",
        "network": None
        if os.environ.get("ALBERT_TORCH_NETWORK")
        else "needs the Hub: set $ALBERT_TORCH_NETWORK=1",
        "slow": None
        if os.environ.get("ALBERT_TORCH_SLOW")
        else "takes minutes: set $ALBERT_TORCH_SLOW=1",
        "gpu": None if torch.cuda.is_available() else "needs a CUDA device",
    }
    for item in items:
        for name, reason in reasons.items():
            if reason and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def assets() -> Path:
    """The directory that holds `assets/` and `data/`."""
    return ASSETS


torch.set_num_threads(1)  # the models are tiny: threads cost more than they bring


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
