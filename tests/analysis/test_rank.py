"""What is read first when not everything can be."""

from __future__ import annotations

import pytest

from analysis.plain import FileFacts, Symbol
from analysis.rank import edges, kind_factor, name_weight, pagerank, scores


def file(path: str, *names: str) -> FileFacts:
    symbols = tuple(Symbol(name, "function", n + 1, n + 1) for n, name in enumerate(names))
    return FileFacts(path, "b", 1, symbols=symbols)


def test_ranks_add_up_and_follow_the_links() -> None:
    ranks = pagerank(["a", "b", "c", "d"], {"a": {"c": 1.0}, "b": {"c": 1.0}, "c": {"d": 1.0}})
    assert sum(ranks.values()) == pytest.approx(1)
    assert ranks["d"] > ranks["c"] > ranks["a"] == pytest.approx(ranks["b"])


def test_a_link_counts_by_its_weight() -> None:
    ranks = pagerank(["a", "b", "c"], {"a": {"b": 3.0, "c": 1.0}})
    assert ranks["b"] > ranks["c"]


def test_pagerank_is_what_solving_the_equations_gives() -> None:
    """Two pages that link to each other, and one that links to the first: solved by hand for damping 0.85."""
    ranks = pagerank(["a", "b", "c"], {"a": {"b": 1.0}, "b": {"a": 1.0}, "c": {"a": 1.0}})
    c = 0.15 / 3
    a = (0.05 + 0.85 * 0.05 + 0.85 * c) / (1 - 0.85**2)
    assert ranks["c"] == pytest.approx(c, rel=1e-3)
    assert ranks["a"] == pytest.approx(a, rel=1e-2)


def test_nothing_ranks_in_an_empty_repository() -> None:
    assert scores([], {}) == {}


def test_edges_go_from_the_user_of_a_name_to_its_definition() -> None:
    files = [file("a", "compute_total"), file("b"), file("c", "own_thing")]
    found = edges(files, {"b": {"compute_total": 4, "print": 9}, "c": {"own_thing": 3}})
    assert found == {"b": {"a": 20.0}}


def test_names_weigh_as_much_as_they_tell() -> None:
    assert name_weight("compute_total", 1) == name_weight("computeTotal", 1) == 10
    assert name_weight("run", 1) == name_weight("LONGNAMES", 1) == name_weight("longername", 1) == 1
    assert name_weight("_private_name", 1) == pytest.approx(1)
    assert name_weight("run", 6) == pytest.approx(0.1)


def test_what_half_the_repository_defines_tells_nothing() -> None:
    files = [file(f"f{n}", "compute_total") for n in range(30)]
    assert edges([*files, file("user")], {"user": {"compute_total": 1}}) == {}


@pytest.mark.parametrize(
    ("path", "factor"),
    [
        ("src/main.py", 2.0),
        ("app/urls.py", 2.0),
        ("package.json", 2.0),
        ("api/thing.py", 2.0),
        ("tests/main.py", 0.3),
        ("src/test_main.py", 0.3),
        ("src/main_test.go", 0.3),
        ("src/a.spec.ts", 0.3),
        ("src/thing.py", 1.0),
        ("src/latest.py", 1.0),
        ("data/a.json", 0.5),
    ],
)
def test_kinds_of_files(path: str, factor: float) -> None:
    assert kind_factor(path) == factor


def test_what_changes_often_ranks_higher() -> None:
    found = scores([file("a.py"), file("b.py")], {}, {"b.py": 8})
    assert found["b.py"] > found["a.py"]
