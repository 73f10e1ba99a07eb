"""The fault suite: candidates that cheat, escape, exhaust and linger, run for real. docs/threat-model.md has the table."""
