from tests.workflows.test_page_in_browser import chromium, site
from tests.workflows.views.conftest import ada, eve, htmx

__all__ = ["ada", "chromium", "eve", "htmx", "site"]
