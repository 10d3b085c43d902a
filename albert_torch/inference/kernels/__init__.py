"""Matrix products and attention of the fast path."""
