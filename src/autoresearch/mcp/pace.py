"""
How fast something may be done: so many at once, and then one in so many seconds. Is told the time.
"""


class Pace:
    def __init__(self, burst: int, every_s: float) -> None:
        self.burst, self.every_s = burst, every_s
        self._full_at = 0.0  # when as many may be done at once again

    def wait(self, now: float) -> float:
        """Seconds until one more may be done; 0 where it may now."""
        return max(0.0, self._full_at - now - (self.burst - 1) * self.every_s)

    def took(self, now: float) -> None:
        """One was done."""
        self._full_at = max(self._full_at, now) + self.every_s
