"""Slow or machine-bound checks. Each is a program of its own and writes its table to benchmarks/results/."""
