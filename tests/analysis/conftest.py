"""Models that answer by script, folders that may be analysed, pages in Chromium."""

from tests.analysis.engine_helpers import model, root
from tests.browser import chromium, page, site

__all__ = ["chromium", "model", "page", "root", "site"]
