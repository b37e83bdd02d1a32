"""Times by the database's clock. A worker's own clock may be wrong by hours; comparisons never use it."""

from __future__ import annotations

from typing import Any

from django.db.models import DateTimeField, DurationField, F, FloatField, Func, Value
from django.db.models.expressions import Combinable, CombinedExpression


class Clock(Func):
    """The wall clock at the moment of evaluation; `now()` stands still for a whole transaction."""

    function = "clock_timestamp"
    template = "%(function)s()"
    output_field = DateTimeField()


class Seconds(Func):
    """An interval of that many seconds."""

    template = "make_interval(secs => %(expressions)s)"
    output_field = DurationField()

    def __init__(self, seconds: float | Any) -> None:
        value = (
            Value(float(seconds), output_field=FloatField()) if isinstance(seconds, int | float) else seconds
        )
        super().__init__(value)


class EpochOf(Func):
    """The seconds of an interval."""

    template = "extract(epoch FROM %(expressions)s)::float8"
    output_field = FloatField()


def ago(seconds: float) -> CombinedExpression:
    """The time `seconds` before now."""
    return CombinedExpression(Clock(), Combinable.SUB, Seconds(seconds), output_field=DateTimeField())


def later(seconds: float | Any) -> CombinedExpression:
    """The time `seconds` (a number, or an expression over the row) after now."""
    return CombinedExpression(Clock(), Combinable.ADD, Seconds(seconds), output_field=DateTimeField())


def since(expression: Any) -> EpochOf:
    """Seconds from `expression` (a time, or the name of a column) until now."""
    if isinstance(expression, str):
        expression = F(expression)
    return EpochOf(CombinedExpression(Clock(), Combinable.SUB, expression, output_field=DurationField()))
