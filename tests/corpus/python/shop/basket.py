"""Baskets in memory, one for each session."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class Basket:
    def __init__(self, session: str, lines: list[dict] = []) -> None:
        self.session = session
        self.lines = lines

    def add(self, sku: str, quantity: int = 1) -> None:
        for line in self.lines:
            if line["sku"] == sku:
                line["quantity"] += quantity
                return
        self.lines.append({"sku": sku, "quantity": quantity})

    def drop_empty(self) -> None:
        """Remove lines whose quantity has reached zero."""
        for line in self.lines:
            if line["quantity"] <= 0:
                self.lines.remove(line)

    def quantity_of(self, sku: str) -> int:
        return sum(line["quantity"] for line in self.lines if line["sku"] == sku)


def merge(into: Basket, other: Basket) -> None:
    """Put everything of another basket into this one, as after signing in."""
    for line in list(other.lines):
        into.add(line["sku"], line["quantity"])
    other.lines.clear()
    log.info("merged %s into %s", other.session, into.session)
