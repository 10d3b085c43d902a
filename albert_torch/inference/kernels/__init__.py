"""Kernels of the fast path: matrix products, int8 and attention on packed rows."""
