from tests.workflows.views.conftest import ada, eve, htmx

__all__ = ["ada", "eve", "htmx"]
