"""What files define, import and use."""

from __future__ import annotations

import pytest

from analysis.imports import links
from analysis.parsing import Parsers
from analysis.plain import FileFacts
from analysis.symbols import NOTHING, parse

PYTHON = """import os
from a.b import (
    c,
    d as e,
)


@decorated
class Thing(Base):
    def method(self):
        def inner():
            pass
        return self.other(1)


async def top(x: Kind) -> None:
    compute_total(x)
"""
JAVASCRIPT = """import a from "./a";
const fs = require("fs");
export default class Thing extends Base {
  method() { return this.other(); }
  #hidden() {}
}
export const arrow = (x) => {
  return compute(x);
};
function* gen() {}
"""
TYPESCRIPT = """import { A } from "./a";
export * from './b';
export abstract class Thing<T> implements Shape {
  method(x: Kind): void {}
}
interface Shape { area(): number }
type Alias = Map<string, Other>;
enum Colour { Red }
namespace Space { export function inside() {} }
"""
GO = """package main

import (
	"fmt"
	other "example.org/mod/pkg"
)

type Thing struct{ Name string }

func (t *Thing) Method() { fmt.Println(t.Name) }

func top(x Kind) { helper(x) }
"""
JAVA = """package a;
import java.util.List;

@Service
public class Thing extends Base {
  Thing() {}
  @Override
  public void method() { other(); new Kind(); }
  enum Colour { RED }
}
interface Shape {}
record Point(int x) {}
"""
RUST = """use crate::a::b;
mod other;

#[derive(Debug)]
struct Thing<T> { x: T }

impl<T> Thing<T> {
    fn method(&self) { helper(); self.other(); }
}

trait Shape { fn area(&self) -> f64; }

mod inside { fn deep() {} }

macro_rules! twice { () => {} }

fn top() { a::build(); println!("x"); }
"""

CASES = [
    (
        "python",
        PYTHON,
        [
            ("Thing", "class", 8, 13, ""),
            ("method", "method", 10, 13, "Thing"),
            ("inner", "function", 11, 12, "Thing.method"),
            ("top", "function", 16, 17, ""),
        ],
        ["import os", "from a.b import ( c, d as e, )"],
        {"decorated", "Base", "other", "Kind", "compute_total"},
    ),
    (
        "javascript",
        JAVASCRIPT,
        [
            ("Thing", "class", 3, 6, ""),
            ("method", "method", 4, 4, "Thing"),
            ("#hidden", "method", 5, 5, "Thing"),
            ("arrow", "function", 7, 9, ""),
            ("gen", "function", 10, 10, ""),
        ],
        ['import a from "./a";', 'require("fs")'],
        {"Base", "other", "compute", "require"},
    ),
    (
        "typescript",
        TYPESCRIPT,
        [
            ("Thing", "class", 3, 5, ""),
            ("method", "method", 4, 4, "Thing"),
            ("Shape", "interface", 6, 6, ""),
            ("Alias", "type", 7, 7, ""),
            ("Colour", "type", 8, 8, ""),
            ("Space", "module", 9, 9, ""),
            ("inside", "function", 9, 9, "Space"),
        ],
        ['import { A } from "./a";', "export * from './b';"],
        {"Shape", "Kind", "Other"},
    ),
    (
        "go",
        GO,
        [
            ("Thing", "type", 8, 8, ""),
            ("Method", "method", 10, 10, "Thing"),
            ("top", "function", 12, 12, ""),
        ],
        ['"fmt"', 'other "example.org/mod/pkg"'],
        {"Thing", "string", "Println", "Kind", "helper"},
    ),
    (
        "java",
        JAVA,
        [
            ("Thing", "class", 4, 10, ""),
            ("Thing", "method", 6, 6, "Thing"),
            ("method", "method", 7, 8, "Thing"),
            ("Colour", "type", 9, 9, "Thing"),
            ("Shape", "interface", 11, 11, ""),
            ("Point", "class", 12, 12, ""),
        ],
        ["import java.util.List;"],
        {"Base", "other", "Kind"},
    ),
    (
        "rust",
        RUST,
        [
            ("Thing", "class", 5, 5, ""),
            ("Thing", "impl", 7, 9, ""),
            ("method", "method", 8, 8, "Thing"),
            ("Shape", "interface", 11, 11, ""),
            ("inside", "module", 13, 13, ""),
            ("deep", "function", 13, 13, "inside"),
            ("twice", "macro", 15, 15, ""),
            ("top", "function", 17, 17, ""),
        ],
        ["use crate::a::b;", "mod other;"],
        {"Thing", "T", "helper", "other", "println", "build", "f64"} - {"f64"},
    ),
]


@pytest.mark.parametrize(("language", "text", "symbols", "imports", "used"), CASES, ids=[c[0] for c in CASES])
def test_each_language(
    language: str, text: str, symbols: list[tuple[object, ...]], imports: list[str], used: set[str]
) -> None:
    found = parse(text, language)
    shown = [(s.name, s.kind, s.start_line, s.end_line, s.parent) for s in found.symbols]
    assert shown == symbols
    assert list(found.imports) == imports
    assert used <= set(found.references)


def test_markup_in_typescript_has_a_grammar_of_its_own() -> None:
    found = parse("export const View = () => <Panel size={1}/>;\n", "tsx")
    assert [symbol.name for symbol in found.symbols] == ["View"]
    assert found.references == {"Panel": 1}


def test_a_language_without_a_grammar_gives_nothing() -> None:
    assert parse("all:\n\ttrue\n", "makefile") is NOTHING


@pytest.mark.parametrize("language", ["python", "javascript", "typescript", "tsx", "go", "java", "rust"])
def test_broken_text_still_gives_an_answer(language: str) -> None:
    assert parse("\x00 def class {{{ ((( \ud800 ≠ \n", language).grammar


def test_what_is_whole_in_a_broken_file_is_found() -> None:
    found = parse("def good():\n    pass\n\n\ndef broken(:\n", "python")
    assert "good" in [symbol.name for symbol in found.symbols]


def test_another_process_says_the_same() -> None:
    with Parsers() as parsers:
        given = [(language, text) for language, text, *_ in CASES] * 3
        said = [one for language, text in given for one in parsers.add(language, text, language)]
        said += parsers.done()
    assert said == [(language, parse(text, language)) for language, text in given]


# --- imports -------------------------------------------------------------------------------------


def file(path: str, language: str, *imports: str) -> FileFacts:
    return FileFacts(path, "b", 1, language=language, imports=imports)


@pytest.mark.parametrize(
    ("importer", "language", "line", "paths", "found"),
    [
        ("a/x.py", "python", "import b.c", ["b/c.py", "b/d.py"], {"b/c.py"}),
        ("a/x.py", "python", "from b.c import thing", ["b/c.py"], {"b/c.py"}),
        ("a/x.py", "python", "from b import c, d as e", ["b/c.py", "b/d.py"], {"b/c.py", "b/d.py"}),
        ("a/x.py", "python", "from b import c", ["b/__init__.py"], {"b/__init__.py"}),
        ("a/x.py", "python", "from . import y", ["a/y.py", "y.py"], {"a/y.py"}),
        ("a/b/x.py", "python", "from ..c import z", ["a/c.py", "c.py"], {"a/c.py"}),
        ("a/x.py", "python", "from src.lib.k import z", ["src/lib/k.py", "other/k.py"], {"src/lib/k.py"}),
        ("a/x.py", "python", "import json", ["deep/json/tool.py"], set()),
        ("a/x.ts", "typescript", 'import y from "../b/y";', ["b/y.ts"], {"b/y.ts"}),
        ("a/x.js", "javascript", 'import "./lib";', ["a/lib/index.js"], {"a/lib/index.js"}),
        ("a/x.js", "javascript", 'require("react")', ["b/react.js"], set()),
        ("cmd/x.go", "go", '"example.org/m/pkg/util"', ["pkg/util/a.go"], {"pkg/util/a.go"}),
        ("A.java", "java", "import org.x.Thing;", ["src/org/x/Thing.java"], {"src/org/x/Thing.java"}),
        ("src/main.rs", "rust", "mod other;", ["src/other.rs"], {"src/other.rs"}),
        ("src/a.rs", "rust", "use crate::net::tcp::Stream;", ["src/net/tcp.rs"], {"src/net/tcp.rs"}),
    ],
)
def test_an_import_means_a_file(
    importer: str, language: str, line: str, paths: list[str], found: set[str]
) -> None:
    files = [file(importer, language, line), *(file(path, language) for path in paths)]
    assert links(files)[importer] == found
