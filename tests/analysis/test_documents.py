"""Documents: plans rest on real files, citations are checked, drawings are made only of what parses."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from analysis import diagrams, documents, mermaid
from analysis.documents import DOCUMENTS, ask_page, ask_plan, citations, parse_plan, render, stale
from analysis.plain import Citation, Overview, PagePlan
from analysis.prompting import BadAnswer
from tests.analysis.findings import manifest_of

MANIFEST = manifest_of({"src/app.py": "a\nb\nc\nd\n", "src/db.py": "x\ny\n"})
KIND = DOCUMENTS["architecture"]
FLOW = "flowchart LR\n  web[Web <b>server</b>] -->|reads| db[(Database)]\n  db -.-> web & job(Job)\n"
SEQUENCE = (
    "sequenceDiagram\n  participant B as Browser\n  B->>Server: GET /\n"
    "  loop each row\n  Server-->>B: a row\n  end\n"
)


def plan(*pages):
    return json.dumps(
        {"pages": [{"title": title, "purpose": "Why.", "paths": paths} for title, paths in pages]}
    )


def test_a_plan_keeps_only_files_that_were_read():
    made = parse_plan(plan(("Parts", ["./src/app.py", "src/phantom.py", "src/app.py"])), MANIFEST)
    assert made.pages == (PagePlan("parts", "Parts", "Why.", ("src/app.py",)),)
    assert made.unknown == ("src/phantom.py",)


def test_a_page_without_a_real_file_is_left_out():
    made = parse_plan(plan(("Dream", ["nowhere.py"]), ("Data", ["src/db.py"])), MANIFEST)
    assert [page.title for page in made.pages] == ["Data"]


def test_a_plan_without_any_real_page_is_a_bad_answer():
    with pytest.raises(BadAnswer, match="no page"):
        parse_plan(plan(("Dream", ["nowhere.py"])), MANIFEST)


def test_two_pages_of_one_title_have_two_slugs():
    made = parse_plan(plan(("Data!", ["src/db.py"]), ("Data?", ["src/db.py"])), MANIFEST)
    assert [page.slug for page in made.pages] == ["data", "data-2"]


@pytest.mark.parametrize("kind", DOCUMENTS.values(), ids=lambda kind: kind.slug)
def test_text_of_the_repository_never_stands_in_the_system_part(kind):
    overview, evil = Overview(summary="EVIL summary"), {"src/app.py": "EVIL code"}
    page = PagePlan("p", "EVIL title", "EVIL purpose", ("src/app.py",))
    asks = [ask_plan(kind, overview, "EVIL map", "m4rk"), ask_page(kind, page, evil, overview, "m4rk")]
    assert all("EVIL" not in ask.system and "m4rk" in ask.system for ask in asks)
    assert "    1| EVIL code" in asks[1].prompt


def test_a_file_that_does_not_fit_is_named_as_left_out():
    page = PagePlan("p", "P", "", ("src/app.py", "src/db.py"))
    prompt = ask_page(
        KIND, page, {"src/app.py": "a" * 90, "src/db.py": "b" * 90}, Overview(), "m4rk", most_characters=100
    ).prompt
    assert "a" * 90 in prompt
    assert "File: src/db.py\n[left out: no room]" in prompt


def test_citations_are_checked_against_the_files():
    text = "See `src/app.py:1-4`, `src/app.py:2`, `src/app.py:3-9`, `src/phantom.py:1` and `src/app.py:4-2`."
    assert [(one.path, one.start_line, one.end_line, one.found) for one in citations(text, MANIFEST)] == [
        ("src/app.py", 1, 4, True),
        ("src/app.py", 2, 2, True),
        ("src/app.py", 3, 9, False),
        ("src/phantom.py", 1, 1, False),
        ("src/app.py", 4, 2, False),
    ]


def test_code_blocks_hold_no_citations():
    assert citations("```\n`src/app.py:1`\n```\n", MANIFEST) == []


def test_a_citation_that_holds_becomes_a_link_and_another_is_marked():
    text = "Good `src/app.py:1-2`, bad `src/app.py:99`."
    html = render(text, citations(text, MANIFEST), lambda one: f"/files/{one.path}?a=1&b=2#L{one.start_line}")
    assert (
        '<a class="citation" href="/files/src/app.py?a=1&amp;b=2#L1"><code>src/app.py:1-2</code></a>' in html
    )
    assert (
        '<span class="citation missing" title="No such lines were read"><code>src/app.py:99</code></span>'
        in html
    )


def test_markup_of_a_page_is_harmless():
    html = render("<script>alert(1)</script> ![x](https://evil.example/p.png)", [])
    assert "<script" not in html
    assert "<img" not in html


@pytest.mark.parametrize("source", [FLOW, SEQUENCE])
def test_a_block_that_parses_is_drawn_and_its_source_kept(source):
    html = render(f"## Parts\nText\n```mermaid\n{source}```\nMore", [])
    assert html.count("<svg") == 1
    assert html.index("Text") < html.index("<svg") < html.index("<summary>Source") < html.index("More")


def test_a_block_that_does_not_parse_is_shown_as_code():
    html = render("```mermaid\nflowchart LR\n  a --> --> b\n```\n", [])
    assert "<svg" not in html
    assert "a --&gt; --&gt; b" in html


def test_a_block_inside_another_block_is_no_drawing():
    assert "<svg" not in render(f"````\n```mermaid\n{FLOW}```\n````\n", [])


def test_a_flowchart_is_read():
    chart = mermaid.parse(FLOW)
    assert chart.nodes == {"web": "Web server", "db": "Database", "job": "Job"}
    assert [(edge.frm, edge.to, edge.label, edge.dashed) for edge in chart.edges] == [
        ("web", "db", "reads", False),
        ("db", "web", "", True),
        ("db", "job", "", True),
    ]


@pytest.mark.parametrize(
    ("line", "edges"),
    [
        ("a --> b --> c", [("a", "b", ""), ("b", "c", "")]),
        ("a -- some text --> b", [("a", "b", "some text")]),
        ("a == text ==> b", [("a", "b", "text")]),
        ("a -. text .-> b", [("a", "b", "text")]),
        ("a-->b", [("a", "b", "")]),
        ("a --- b", [("a", "b", "")]),
        ('a["x --> y"] --> b{Is it?}', [("a", "b", "")]),
        ("a:::hot --> b", [("a", "b", "")]),
        ("my-app --> b.c", [("my-app", "b.c", "")]),
    ],
)
def test_ways_to_write_an_edge(line, edges):
    chart = mermaid.parse(f"graph TD\n{line}\n")
    assert [(edge.frm, edge.to, edge.label) for edge in chart.edges] == edges


def test_groups_and_styles_do_not_disturb():
    chart = mermaid.parse(
        "flowchart TB\nsubgraph one [The first]\n a --> b\nend\nclassDef x fill:#f00\nclick a href 'x'\nb --> one\n"
    )
    assert chart.nodes["one"] == "The first"


@pytest.mark.parametrize(
    "source",
    [
        "",
        "pie\n a : 1",
        "flowchart LR",
        "flowchart LR\n a -->",
        "flowchart LR\nsubgraph x\n a --> b",
        "gantt",
        "stateDiagram",
        "flowchart LR\n" + "\n".join(f"a{n} --> a{n + 1}" for n in range(60)),
        "sequenceDiagram\n nonsense here",
    ],
)
def test_what_is_not_known_is_not_drawn(source):
    assert mermaid.parse(source) is None


def test_a_sequence_is_read():
    made = mermaid.parse(SEQUENCE)
    assert made.actors == {"B": "Browser", "Server": "Server"}
    assert [(line.frm, line.to, line.text, line.dashed) for line in made.lines if line.kind == "message"] == [
        ("B", "Server", "GET /", False),
        ("Server", "B", "a row", True),
    ]


@pytest.mark.parametrize(
    "source",
    [
        FLOW,
        SEQUENCE,
        "graph TD\n a --> b --> c --> a\n a --> a",
        "sequenceDiagram\n A->>A: self\n Note over A,B: n",
    ],
)
def test_a_drawing_is_well_formed_and_holds_shapes_and_words_only(source):
    root = ElementTree.fromstring(diagrams.draw(mermaid.parse(source), "n"))
    tags = {element.tag for element in root.iter()}
    assert tags <= {"svg", "defs", "marker", "path", "rect", "text"}
    assert not any(
        name.startswith("on") or name in ("href", "style") for one in root.iter() for name in one.attrib
    )


def test_markup_in_labels_is_escaped():
    drawn = diagrams.draw(mermaid.parse('flowchart LR\n a["x & y > z onload=1"] --> b'), "n")
    assert "x &amp; y &gt; z" in drawn


def test_boxes_do_not_cover_each_other():
    chart = mermaid.parse("graph TD\n a --> b & c & d\n b --> e\n c --> e\n d --> a\n")
    boxes = [
        tuple(map(int, found))
        for found in re.findall(
            r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', diagrams.draw(chart, "n")
        )
    ]
    assert len(boxes) == 5
    for index, (x, y, w, h) in enumerate(boxes):
        assert all(
            x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y for x2, y2, w2, h2 in boxes[:index]
        )


def test_an_edge_over_several_layers_has_a_place_in_each_and_a_circle_ends():
    chart = mermaid.parse("graph TD\n a --> b --> c --> d\n a --> d\n d --> a\n")
    rows, ways = diagrams.layers(chart)
    assert [sum(name in chart.nodes for name in row) for row in rows] == [1, 1, 1, 1]
    assert [len(ways[edge]) for edge in chart.edges] == [2, 2, 2, 4, 4]


def test_a_page_is_stale_when_a_file_of_it_changed_or_is_gone():
    kept = documents.blobs(PagePlan("p", "P", "", ("src/app.py", "src/db.py")), MANIFEST)
    now = {path: file.blob for path, file in MANIFEST.items()}
    assert stale(kept, now) == []
    assert stale(kept, {**now, "src/app.py": "other"}) == ["src/app.py"]
    assert stale(kept, {"src/app.py": now["src/app.py"]}) == ["src/db.py"]


def test_a_citation_of_an_odd_name_is_linked():
    text = "See `a & b.py:1`."
    (cited,) = citations(text, manifest_of({"a & b.py": "x\n"}))
    assert cited == Citation("a & b.py", 1, 1, True, cited.blob)
    assert 'href="/x"' in render(text, [cited], lambda one: "/x")
