"""What the tests with client packages share: sentences with labels, a tiny model shape."""

from typing import Any

from albert_torch.integrations.transformers import auto_classes

SENTENCES = [
    ("a warm and funny film about growing old", 1),
    ("dull , slow and far too long", 0),
    ("the actors are a joy to watch", 1),
    ("nothing in it is worth your time", 0),
    ("one of the best scripts of the year", 1),
    ("a mess of half finished ideas", 0),
    ("it made me laugh and then cry", 1),
    ("the jokes fall flat every time", 0),
]


def shape(vocab_size: int) -> dict[str, Any]:
    """Return the config of a model with one layer that runs three times."""
    sizes = {
        "embedding_size": 10,
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    }
    return {
        **sizes,
        "vocab_size": vocab_size,
        "intermediate_size": 36,
        "max_position_embeddings": 48,
    }


def unregister() -> None:
    """Undo `register_with_transformers`; transformers has no function for that."""
    import transformers

    for name in auto_classes():
        getattr(transformers, name)._model_mapping._extra_content.pop(
            transformers.AlbertConfig, None
        )
