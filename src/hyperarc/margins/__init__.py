"""Margins: what each paper makes of the true class's cosine. One paper, one file.

``create_margin(name, **arguments)`` builds one by its registered name; ``margin_names()`` lists them.
"""

from hyperarc.margins.margin import Margin, create_margin, margin_names, register

__all__ = ["Margin", "create_margin", "margin_names", "register"]
