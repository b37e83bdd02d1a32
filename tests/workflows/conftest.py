"""Pages in Chromium."""

from tests.browser import chromium, page, site

__all__ = ["chromium", "page", "site"]
