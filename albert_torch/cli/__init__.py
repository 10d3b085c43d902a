"""The `albert-torch` command: `main` dispatches to one module for each subcommand."""
