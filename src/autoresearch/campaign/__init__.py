"""
A live study as a study: its log, its proposers, its person, and what it learnt.

levels.py says what a trial is there, turns.py what is done when; atlas.py and drawing.py are the map. Who is shown what, and what
follows from what they did, is in the room live.
"""
