"""Defaults for PEFT."""

from __future__ import annotations

from albert_torch.integrations import import_or_explain

LORA_TARGET_MODULES = ("query", "value")


def register_with_peft() -> None:
    """Let PEFT's LoRA adapt the query and value projections of an ALBERT by default.

    PEFT does the same for BERT. A LoRA config that names its `target_modules` is not affected.

    Raises:
        ImportError: If peft is not installed.
    """
    constants = import_or_explain("peft").utils.constants
    default_modules = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    default_modules.setdefault("albert", list(LORA_TARGET_MODULES))
