"""Measurements that anyone can repeat; benchmarks/README.md holds the figures and their commands."""
