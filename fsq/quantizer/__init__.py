"""Finite scalar quantization: the lattice in exact integers, and the layers over it."""
