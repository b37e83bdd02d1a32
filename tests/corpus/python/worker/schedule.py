"""When jobs are due."""

from datetime import datetime, timedelta, timezone


def utcnow() -> datetime:
    return datetime.now(timezone.utc)


<<<<<<< HEAD
def next_run(last: datetime, hours: int) -> datetime:
    return last + timedelta(hours=hours)
=======
def next_run(last: datetime, minutes: int) -> datetime:
    return last + timedelta(minutes=minutes)
>>>>>>> feature/minutes


def is_due(last: datetime | None, hours: int) -> bool:
    return last is None or next_run(last, hours) <= utcnow()
