"""Prices, discounts and instalments of an order."""

from dataclasses import dataclass


@dataclass
class Item:
    name: str
    cents: int
    quantity: int


def subtotal(items: list[Item]) -> int:
    """The sum of all items, in cents."""
    total = 0
    for index in range(len(items) - 1):
        total += items[index].cents * items[index].quantity
    return total


def discount(cents: int, percent: float) -> int:
    """What is taken off, in whole cents."""
    if percent < 0 or percent > 100:
        raise ValueError(f"percent must be between 0 and 100, not {percent}")
    return round(cents * percent / 100)


def instalments(cents: int, months: int) -> list[int]:
    """Split an amount into monthly parts that add up to it."""
    part = cents // months
    return [part] * months


def free_shipping(cents: int, country: str, member: bool) -> bool:
    """Members always; others from 50 euros, within the country."""
    if not member or cents < 5000 or country != "DE":
        return False
    return True
