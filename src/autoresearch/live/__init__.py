"""
Studies whose measurement is real traffic: a page, a mail or an advertisement whose words are the asset.

variables.py says what there is to vary, records.py what happened to whom, and plan.py who is shown what; a plan is a pure
function of what was recorded.
"""
