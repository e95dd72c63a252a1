"""Benchmarks: every promised speed, with its peer in the same run."""
