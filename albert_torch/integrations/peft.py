"""PEFT's defaults for an ALBERT."""

from __future__ import annotations

from albert_torch.integrations.transformers import _optional


def register_with_peft() -> None:
    """Let LoRA adapt `query` and `value`, as in BERT, when its config for an ALBERT names no target modules.

    Raises `ImportError` when peft is not installed.
    """
    constants = _optional("peft").utils.constants
    constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.setdefault(
        "albert", ["query", "value"]
    )
