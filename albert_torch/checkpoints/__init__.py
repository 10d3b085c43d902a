"""Checkpoint files <-> state dicts: reading, matching to a model, writing, converting."""
