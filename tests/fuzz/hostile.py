"""What has no place in a file: values, scraps of text and whole texts that broke some reader somewhere."""

from __future__ import annotations

from typing import Any, Final

RAW: Final = "<<raw {}>>"
"""In a document, stands for the scrap of that number, which no writer of JSON or YAML would write."""

VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2, 10**6, 10**9 + 1, 2**31, 2**63, 2**64, 10**19, 10**30, -(10**30), 0.0,
    -0.0, 0.1, 1.5, -1e-300, 1e-320, 1e16, 1e300, float("inf"), float("-inf"), float("nan"), "", " ", "0",
    "1", "1.0", "nan", "all", ",", "a,b", "..", "../../etc/passwd", "/dev/zero", "a/b", "-", "--x",
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\nremedy: run rm -rf", "a\tb", "\u202egnp.exe", "\u2028",
    "\x00", "\x7f", "\x9b1m", "é", "日本", "😀", "\ufeff", "x" * 300, "9" * 100, "x" * 5000, "24:00:00",
    "2026-11-28", "=1+1", "@SUM(A1)", "%s%n", "{0}", "${x}", "$(touch x)", [], {}, [[]], [{}], [None], [0],
    ["a", "a"], {"": ""}, {"a": {"b": {"c": []}}}, [1] * 50,
)  # fmt: skip
"""Values of every type, possible and impossible."""

SCRAPS: Final = (
    "9" * 5000, "-" + "9" * 5000, "0x" + "f" * 4000, "1e999", "1" + "0" * 400 + ".0", "NaN", "-Infinity",
    ".inf", "[" * 3000 + "]" * 3000, "[" * 500, '{"a":' * 500 + "1" + "}" * 500, "- " * 300, "? " * 300,
    "{" * 60, '"\\ud800"', '"\\u0000"', '"\\x1b"', '"\\e[31m"', '"\\UFFFFFFFF"', "*nowhere", "&a [*a]",
    "!!python/object:a.b {}", "!!binary x", "!!timestamp 2001-99-99", "!!set {a}", "<<: *a", "%YAML 9.9",
    "---", "...", "\t", "\r", "#", "|", ">", "'", '"', "{", "}", "[", "]", ":", ",", "&", "*", "!",
    "\u2028", "0b_", "0x_", "1:20:30", "1_000", "yes",
)  # fmt: skip
"""Texts that stand for themselves in a document, or break it."""

BYTES: Final = (
    b"", b"\0", b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\x80", b"\xe9", b"\xed\xa0\x80",
    b"\r", b"\n", b"\n\n", b"\x1b[2J", b"\x1a", b"\x7f", b" ", b"\t", b"\\", b'"', b"'", b"[" * 3000,
    b"9" * 5000, b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"\xe2\x80\xae", b"NaN", b"1e999", b"---\n", b"{",
    b"}", b",", b":",
)  # fmt: skip
"""What is put between, or in the place of, a file's bytes."""

ENCODINGS: Final = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-8-sig", "cp037")


def aliases(levels: int, width: int, merged: bool) -> str:
    """A short YAML file that is `width` ** `levels` entries long when it is written out."""
    entry = "{{<<: [{}]}}" if merged else "[{}]"
    lines = ["k0: &k0 {x: 1}" if merged else "k0: &k0 [x]"]
    lines += [f"k{i}: &k{i} {entry.format(', '.join([f'*k{i - 1}'] * width))}" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


def nested(depth: int, opening: str, closing: str) -> str:
    """Brackets in brackets."""
    return opening * depth + closing * depth
