"""
What is known already: a small catalogue of published ideas, found in a finding's words and added lines.

A label says where to read, not that the finding is that. Pure.
"""

import re

CATALOGUE: tuple[tuple[str, str], ...] = (
    (r"kaiming|\bhe[ _-]?init|sqrt\(\s*2(\.0)?\s*/\s*\w*fan_?in|variance[ _-]scaling", "He et al. 2015"),
    (r"xavier|glorot", "Glorot and Bengio 2010"),
    (r"orthogonal[ _-]?init|orthogonal_\(", "Saxe et al. 2014"),
    (r"batch[ _-]?norm", "Ioffe and Szegedy 2015"),
    (r"layer[ _-]?norm", "Ba et al. 2016"),
    (r"rms[ _-]?norm", "Zhang and Sennrich 2019"),
    (r"qk[ _-]?norm", "Henry et al. 2020"),
    (r"\badamw\b|decoupled[ _-]weight[ _-]decay", "Loshchilov and Hutter 2019"),
    (r"\badam\b", "Kingma and Ba 2015"),
    (r"\bmuon\b", "Jordan et al. 2024"),
    (r"\blion\b", "Chen et al. 2023"),
    (r"nesterov", "Nesterov 1983"),
    (r"cosine[ _-](decay|anneal|schedule|lr)|warm[ _-]?restart", "Loshchilov and Hutter 2017"),
    (r"warm[ _-]?up", "Goyal et al. 2017"),
    (r"warm[ _-]?down|\bwsd\b|cool[ _-]?down", "Hu et al. 2024 (WSD)"),
    (r"dropout", "Srivastava et al. 2014"),
    (r"label[ _-]smooth", "Szegedy et al. 2016"),
    (r"grad(ient)?s?[ _-](norm[ _-])?clip|clip_grad", "Pascanu et al. 2013"),
    (r"swi?glu|geglu", "Shazeer 2020"),
    (r"relu[ _-]?(squared|2|\^2)|squared[ _-]relu", "So et al. 2021"),
    (r"\bgelu\b", "Hendrycks and Gimpel 2016"),
    (r"rotary|\brope\b", "Su et al. 2021"),
    (r"\balibi\b", "Press et al. 2022"),
    (r"grouped[ _-]query|\bgqa\b|n_kv_head", "Ainslie et al. 2023"),
    (r"multi[ _-]query", "Shazeer 2019"),
    (r"weight[ _-]ty(ing|ed)|tied?[ _-](weights|embedd)", "Press and Wolf 2017"),
    (r"residual[ _-]scal|\bmup\b|maximal[ _-]update", "Yang et al. 2022"),
    (r"logit[ _-]?(soft)?cap|soft[ _-]?cap", "Gemma Team 2024"),
    (r"exponential[ _-]moving[ _-]average|\bema\b|weight[ _-]averag", "Polyak and Juditsky 1992"),
    (r"flash[ _-]?attention", "Dao et al. 2022"),
    (r"value[ _-](residual|embedd)", "Zhou et al. 2024"),
    (r"mixture[ _-]of[ _-]experts|\bmoe\b", "Shazeer et al. 2017"),
)
_FOUND = tuple((re.compile(pattern, re.IGNORECASE), label) for pattern, label in CATALOGUE)
LONGEST = 8000  # characters that are looked through
MOST = 3


def known(idea: str, patch: str) -> tuple[str, ...]:
    """Where something like this was published, at most MOST places."""
    added = "\n".join(line[1:] for line in patch.split("\n") if line.startswith("+") and not line.startswith("+++"))
    text = f"{idea}\n{added}"[:LONGEST]
    return tuple(label for pattern, label in _FOUND if pattern.search(text))[:MOST]
