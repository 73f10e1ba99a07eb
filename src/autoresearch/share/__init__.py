"""
What peers tell each other, and what follows from it.

A finding is a proposal that somebody else measured: it is taken up only where it is measured again. Receipts say what
was measured (receipt.py), are signed (identity.py), and form a set that only grows (book.py), which peers hold against
each other and make equal (exchange.py) over any transport behind one small seam (`Share`). Boards, trust and counts are
pure functions of that set (board.py, trust.py).
"""

FINDING = "finding"  # in the memo of a trial that tries another peer's: that receipt's id
