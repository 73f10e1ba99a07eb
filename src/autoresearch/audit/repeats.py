"""
Which descriptions in a log say that nothing was changed, so that their value shows the noise.

Knows words only. A description counts when *every* word of it belongs to such a sentence: "random seed 42 to 137"
does, "seed 137 and embedding LR 0.8" does not. One line too few makes an audit less certain; one line too many makes
it wrong.
"""

import re
from typing import Literal

Kind = Literal["seed", "best", "baseline"]  # only the seed differs; the code as it stands, again; the first code, again

_MAY_OCCUR = frozenset(
    re.findall(
        r"\w+",
        """
    a again an another as at back best baseline before change changed changes check code commit config confirm
    confirmation control current data different estimate evaluate evaluation exactly for from global go identical
    initial is it kept lucky manual measure measured measurement model new next no noise noop nothing now number numpy
    of on once only op other previous python random re reevaluate remeasure remeasured repeat repeated repeats
    replicate replication reproduce reproduction rerun reseed result revert reverted rng run same sanity second seed
    set settings setup swap switch test the third this time to torch training try unchanged undo use using value
    variance verify with x
    """,
    )
)
_SEED = re.compile(r"\b(?:seed|reseed)\b")
_SAME = re.compile(
    r"""\b(?:
        re\ ?run | repeat(?:ed|s)? | again | no\ ?op | no\ changes? | nothing\ changed | unchanged | identical
        | re\ ?measure[d]? | re\ ?evaluat(?:e|ion) | replicat(?:e|ion) | reproduc(?:e|tion)
        | same\ (?:as|code|commit|config|settings|setup|model) | control\ run
        | (?:verify|confirm|check)\ (?:the\ )?(?:current|best|baseline)
        | (?:noise|sanity|variance)\ (?:check|estimate|measurement|test|run)
        | (?:revert(?:ed)?|back)\ to\ (?:the\ )?(?:current\ )?(?:best|baseline)
        | second\ run | third\ run
    )\b""",
    re.VERBOSE,
)
_MORE = re.compile(r"[+&]|\b(?:and|but|plus|with|also|without)\b")


def kind(description: str) -> Kind | None:
    """What a line repeats, as far as its own words say so; None for a change, and for whatever is not clear."""
    text = description.lower()
    # A remark in brackets may say anything about the outcome, but must not add a change.
    remarks = re.findall(r"\(([^()]*)\)", text)
    if any(_MORE.search(remark) for remark in remarks):
        return None
    text = re.sub(r"\([^()]*\)", " ", text)
    words = [word for word in re.findall(r"[^\W_]+", text) if not any(c.isdigit() for c in word)]
    if not words or not set(words) <= _MAY_OCCUR:
        return None
    sentence = " ".join(words)
    if _SEED.search(sentence):
        return "seed"
    if sentence in {"baseline", "the baseline"} or (_SAME.search(sentence) and "baseline" in words):
        return "best" if {"best", "current"} & set(words) else "baseline"
    return "best" if _SAME.search(sentence) else None
