"""Benchmarks: they watch from outside; nothing imports them."""
