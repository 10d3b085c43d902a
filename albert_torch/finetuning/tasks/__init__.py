"""The tasks that a recipe can name."""
