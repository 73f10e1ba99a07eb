"""Autonomous research: propose a change, measure it, keep it or not, and claim only what survives re-measurement."""

__version__ = "0.1.0"
