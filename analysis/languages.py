"""The language of a file, by its name or its first line; its text, whatever encoding it has."""

from __future__ import annotations

import codecs
import io
from functools import lru_cache

# What identify calls some languages, and what everybody calls them.
NAMES = {
    "ts": "typescript",
    "jsx": "javascript",
    "pyi": "python",
    "shell": "shell",
    "bash": "shell",
    "sh": "shell",
    "zsh": "shell",
    "cs": "c#",
    "mjs": "javascript",
    "cjs": "javascript",
    "plain-text": "text",
    "python3": "python",
    "node": "javascript",
    "perl5": "perl",
}
# Tags that say nothing of the language.
VAGUE = {"text", "binary", "file", "executable", "non-executable", "symlink", "directory", "socket"}
# Where identify knows several tags, the more telling one.
PREFERRED = (
    "tsx",
    "ts",
    "jsx",
    "pyi",
    "python",
    "javascript",
    "dockerfile",
    "toml",
    "yaml",
    "json",
    "xml",
    "html",
    "jinja",
)
BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What identify does not know; the rest is known by its bytes.
# fmt: off
MORE_BINARY = frozenset({
    "7z", "a", "apk", "arrow", "avi", "bin", "class", "dat", "db", "deb", "dmg", "docx", "flac",
    "ipa", "iso", "jks", "keystore", "lib", "lz4", "m4a", "mkv", "mo", "mov", "mp3", "mp4", "npy",
    "npz", "o", "obj", "ods", "odt", "ogg", "parquet", "pkl", "pptx", "pyc", "pyo", "rar", "rpm",
    "sqlite", "sqlite3", "wasm", "wav", "webm", "xlsx", "xz", "zst",
})
# fmt: on
GUESSED = 1 << 13  # bytes that a guess of the encoding looks at


def language(name: str, head: bytes = b"") -> str:
    """Return the language of a file called `name` (its last part); `head` are its first bytes. "" is unknown."""
    found = _by_name(name)
    if not found and head.startswith(b"#!"):
        found = _by_shebang(head[:200])
    return found


def is_binary_name(name: str) -> bool:
    """True for a name whose extension belongs to a binary kind: pictures, archives, fonts, objects."""
    return _binary(name.rpartition(".")[2].lower() if "." in name else "")


@lru_cache(maxsize=4096)
def _binary(extension: str) -> bool:
    from identify.extensions import EXTENSIONS, EXTENSIONS_NEED_BINARY_CHECK

    tags = EXTENSIONS.get(extension, set())
    if "image" in tags or extension in MORE_BINARY:
        return True  # of images those that are text, too
    return "binary" in tags and "text" not in tags and extension not in EXTENSIONS_NEED_BINARY_CHECK


@lru_cache(maxsize=16_384)
def _by_name(name: str) -> str:
    from identify.identify import tags_from_filename

    tags = tags_from_filename(name) - VAGUE
    return _chosen(tags) if tags else _by_pygments(name)


def _chosen(tags: set[str]) -> str:
    for tag in PREFERRED:
        if tag in tags:
            return NAMES.get(tag, tag)
    first = min(tags, key=lambda tag: (tag not in NAMES, len(tag), tag))
    return NAMES.get(first, first)


def _by_pygments(name: str) -> str:
    """Many more extensions than identify has. By name alone: its guesses from contents are slow and vague."""
    from pygments.lexers import find_lexer_class_for_filename

    lexer = find_lexer_class_for_filename(name)
    if lexer is None or not lexer.aliases:
        return ""
    alias = str(lexer.aliases[0])
    return "" if alias in VAGUE else NAMES.get(alias, alias)


def _by_shebang(head: bytes) -> str:
    from identify.identify import parse_shebang
    from identify.interpreters import INTERPRETERS

    command = parse_shebang(io.BytesIO(head + b"\n"))
    if not command:
        return ""
    program = command[0].rpartition("/")[2].rstrip("0123456789.")
    tags = set(INTERPRETERS.get(program, set())) - VAGUE
    return _chosen(tags) if tags else ""


def decode(data: bytes, encoding: str = "") -> tuple[str, str]:
    """Return the text of a file and its encoding; ("", "") where none fits.

    Lines end with one line feed afterwards, and a zero character, which no database takes, is replaced.
    """
    name = encoding or next((name for bom, name in BOMS if data.startswith(bom)), "utf-8")
    try:
        return _clean(data.decode(name)), name
    except (UnicodeError, LookupError):
        name = "" if encoding else _guessed(data)
    if not name:
        return "", ""
    try:
        return _clean(data.decode(name)), name
    except (UnicodeError, LookupError):
        return "", ""


def _clean(text: str) -> str:
    text = text.removeprefix("\ufeff")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _guessed(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:GUESSED], steps=3).best()
    return best.encoding if best is not None else ""
