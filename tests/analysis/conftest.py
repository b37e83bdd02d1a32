from tests.analysis.engine_helpers import model, root

__all__ = ["model", "root"]
