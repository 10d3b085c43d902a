"""Other libraries: transformers' Auto classes, PEFT."""
