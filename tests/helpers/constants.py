"""Where the repository and its assets are, and the shapes of tiny models."""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ASSETS = Path(os.environ.get("ALBERT_TORCH_ASSETS") or ROOT.parent / "shared")

# Every size is a different number, and there are several groups and inner layers, so that two sizes
# cannot be mistaken for each other without a test failing.
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
# Like the published models: one layer that every run shares.
SHARED = {**TINY, "num_hidden_groups": 1, "inner_group_num": 1, "hidden_act": "gelu"}
# Tiny shapes with one and several groups, and one and several layers in each.
GROUPS = [
    {**TINY, "num_hidden_groups": groups, "inner_group_num": inner}
    for groups in (1, 3)
    for inner in (1, 2)
]
GROUP_IDS = [f"G{c['num_hidden_groups']}-inner{c['inner_group_num']}" for c in GROUPS]
