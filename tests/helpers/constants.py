"""Where the repository and the assets are, and tiny model shapes."""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
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
