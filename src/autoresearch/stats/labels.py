"""
Labels that err: what a rate is when a program says which replies were positive, and a person looked at some of them
again.

Standard library only.
"""

import math
from collections import Counter
from collections.abc import Iterable
from statistics import NormalDist
from typing import NamedTuple

from autoresearch.stats.checks import probability
from autoresearch.stats.intervals import Interval

LEAST_TOLD = 0.05  # detected less falsely labelled; below, a label says nothing


class Audit(NamedTuple):
    """
    What a person found: how many of these were truly positive, and truly not, of those labelled so and of those that
    were not.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


class Errors(NamedTuple):
    """
    How labels err: the share of the truly positive that is labelled so, and of the others that is not; and how surely
    that is known.
    """

    sensitivity: float
    specificity: float
    sensitivity_sd: float
    specificity_sd: float

    @property
    def told(self) -> float:
        """How much a label tells: 1 all, 0 nothing."""
        return self.sensitivity + self.specificity - 1


def audited(looked_at: Iterable[tuple[bool, bool]]) -> Audit:
    """Of pairs: what the label says, and what is true."""
    found = Counter(looked_at)
    return Audit(found[True, True], found[True, False], found[False, True], found[False, False])


def errors(audit: Audit, labelled: float | None = None, others: float = 1.0) -> Errors:
    """
    How labels err, as an audit shows it. `labelled`: the share of all that is labelled positive, where so many labelled
    positive and so many labelled negative were looked at, by chance within each; None: those looked at were picked at
    random, or by what they truly are. `others`: the share of those not labelled positive who might have been looked at,
    if the rest is surely negative, as who did not reply.

    One success and one failure are added to each share (Laplace), so that a small audit without an error is not taken
    for proof. Source: Rogan and Gladen 1978; from shares by label: Bayes' rule.
    """
    if min(audit) < 0:
        raise ValueError(f"an audit counts from 0 up, not {min(audit)}")
    a, b, c, d = audit
    if labelled is None:
        sensitivity, specificity = (a + 1) / (a + c + 2), (d + 1) / (b + d + 2)
        return Errors(
            sensitivity,
            specificity,
            math.sqrt(sensitivity * (1 - sensitivity) / (a + c + 3)),
            math.sqrt(specificity * (1 - specificity) / (b + d + 3)),
        )
    q = probability("labelled", labelled)
    right, missed = (a + 1) / (a + b + 2), (c + 1) / (c + d + 2)
    right_sd, missed_sd = math.sqrt(right * (1 - right) / (a + b + 3)), math.sqrt(missed * (1 - missed) / (c + d + 3))
    missed, missed_sd = missed * others, missed_sd * others
    positive = q * right + (1 - q) * missed
    sensitivity, specificity = q * right / positive, (1 - q) * (1 - missed) / (1 - positive)
    # By the delta method.
    sensitivity_sd = q * (1 - q) / positive**2 * math.hypot(missed * right_sd, right * missed_sd)
    specificity_sd = q * (1 - q) / (1 - positive) ** 2 * math.hypot((1 - missed) * right_sd, (1 - right) * missed_sd)
    return Errors(sensitivity, specificity, sensitivity_sd, specificity_sd)


def true_rate(labelled: int, shown: int, audit: Audit, alpha: float = 0.05) -> Interval:
    """
    The rate of what is truly positive, of `shown` of whom so many are labelled positive. The audit is one of a random
    sample, or of truly positive and truly negative ones.

    (labelled share + specificity - 1) / (sensitivity + specificity - 1), with the interval of Lang and Reiczigel 2014
    (their section 2.2), which holds both samples' errors and covers 95 % also where an audit is small.

    Raises:
        ValueError: labels tell nothing: sensitivity and specificity sum to little more than 1.
    """
    if not 0 <= labelled <= shown or shown < 1:
        raise ValueError(f"{labelled} of {shown} cannot be labelled")
    z = NormalDist().inv_cdf(1 - probability("alpha", alpha) / 2)
    known = errors(audit)
    if known.told < LEAST_TOLD:
        raise ValueError(
            f"the audit finds {known.sensitivity:.0%} of what is positive and {known.specificity:.0%} of what is not: such labels say nothing"
        )
    positives, negatives = (
        audit.true_positive + audit.false_negative + 2,
        audit.true_negative + audit.false_positive + 2,
    )
    n = shown + z * z
    share = (labelled + z * z / 2) / n
    rate = (share + known.specificity - 1) / known.told
    of_share = share * (1 - share) / n
    of_sensitivity = known.sensitivity * (1 - known.sensitivity) / positives
    of_specificity = known.specificity * (1 - known.specificity) / negatives
    shift = 2 * z * z * (rate * of_sensitivity - (1 - rate) * of_specificity)
    error = math.sqrt(of_share + rate**2 * of_sensitivity + (1 - rate) ** 2 * of_specificity) / known.told
    low, high = rate + shift - z * error, rate + shift + z * error
    return Interval(min(1.0, max(0.0, rate)), min(1.0, max(0.0, low)), min(1.0, max(0.0, high)))
