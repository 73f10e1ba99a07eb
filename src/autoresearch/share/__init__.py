"""
What peers tell each other, and what follows from it.

A finding is a proposal that somebody else measured: it is taken up only where it is measured again. Receipts say what
was measured (receipt.py), are signed (identity.py), and form a set that only grows (book.py), which peers hold against
each other and make equal (exchange.py) over any transport behind one small seam (`Share`). Boards, trust and counts are
pure functions of that set (board.py, trust.py).

Raises:
    MissingExtra: the extra `swarm` is not installed; on import, since a receipt cannot even be read without it.
"""

from autoresearch.errors import MissingExtra

try:
    import cryptography as _cryptography  # noqa: F401
    import rfc8785 as _rfc8785  # noqa: F401
except ImportError:
    raise MissingExtra("cryptography and rfc8785", "swarm", "sharing") from None
