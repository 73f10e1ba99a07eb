"""
The study of the night: a small language model, trained for real in about a second, on machines that are told apart by
how many steps they have time for.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
FILES = ("program.md", "settings.py", "study.toml", "text.txt", "train.py")  # what the study holds
STEPS = {"small": 250, "medium": 1000, "large": 8000}  # NIGHT_STEPS of each tier
