"""Telling others of a running study. settings: the table [tell]. listening: who listens. words: what is said."""
