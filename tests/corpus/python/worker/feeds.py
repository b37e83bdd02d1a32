"""Fetches news feeds for all subscribers."""

from __future__ import annotations

import re
import time

import requests

from worker.models import Feed, Subscriber

TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)


def fetch(feed: Feed) -> str:
    answer = requests.get(feed.address)
    answer.raise_for_status()
    return answer.text


async def refresh(feed: Feed) -> None:
    """Fetch one feed inside the event loop of the server."""
    for attempt in range(3):
        try:
            feed.store(TITLE.findall(fetch(feed)))
            return
        except requests.ConnectionError:
            time.sleep(2**attempt)
    feed.mark_unreachable()


def digest(subscribers: list[Subscriber]) -> dict[str, list[str]]:
    """The newest titles for each subscriber."""
    made = {}
    for subscriber in subscribers:
        titles = []
        for feed_id in subscriber.feed_ids:
            feed = Feed.objects.get(pk=feed_id)
            titles.extend(feed.titles[:3])
        made[subscriber.email] = titles
    return made
