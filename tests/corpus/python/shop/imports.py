"""Nightly import of supplier catalogues."""

from __future__ import annotations

import csv
import logging
import os
from pathlib import Path

from shop.models import Product, Supplier
from shop.store import transaction

log = logging.getLogger(__name__)


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=";"))


def import_catalogue(supplier: Supplier, path: Path) -> int:
    """Store all products of a file; return how many."""
    rows = read_rows(path)
    stored = 0
    with transaction():
        for row in rows:
            product = Product.get_or_create(supplier, row["sku"])
            product.name = row["name"].strip()
            product.cents = int(row["price"].replace(",", "").replace(".", ""))
            product.save()
            stored += 1
    return stored


def run(inbox: Path) -> None:
    """Import every file of the inbox, then take it away."""
    for path in sorted(inbox.glob("*.csv")):
        supplier = Supplier.by_code(path.stem.split("-")[0])
        try:
            count = import_catalogue(supplier, path)
            log.info("%s: %d products", path.name, count)
        except Exception:
            pass
        os.remove(path)
