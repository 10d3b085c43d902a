"""What the tests share: where the assets are, which markers skip, and models whose every parameter is drawn."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
ASSETS = Path(os.environ.get("ALBERT_TORCH_ASSETS") or ROOT.parent / "shared")

# Every size a different number, groups and inner layers above one: a swapped size cannot go unseen.
TINY = {
    "vocab_size": 61,
    "embedding_size": 10,
    "hidden_size": 24,
    "num_hidden_layers": 6,
    "num_hidden_groups": 3,
    "inner_group_num": 2,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "max_position_embeddings": 20,
    "type_vocab_size": 3,
}
# As the published models: one layer, shared by every run.
SHARED = {**TINY, "num_hidden_groups": 1, "inner_group_num": 1, "hidden_act": "gelu"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {
        "assets": None if ASSETS.is_dir() else f"no assets in {ASSETS}: set $ALBERT_TORCH_ASSETS",
        "network": None if os.environ.get("ALBERT_TORCH_NETWORK") else "needs the Hub: set $ALBERT_TORCH_NETWORK=1",
        "slow": None if os.environ.get("ALBERT_TORCH_SLOW") else "takes minutes: set $ALBERT_TORCH_SLOW=1",
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
