"""When two SVG files count as the same."""

from __future__ import annotations

import pytest

from anarchy.archive.drawings import same_drawing

SVG = (
    b'<path id="m0123456789" d="M 10.5 20 L 3e-2 4" style="stroke-width: 0.8; opacity: 0.4"/>\n'
    b'<use href="#m0123456789" x="7.25" y="9"/>'
    b'<g transform="translate(31.5 8) rotate(-90) scale(0.08 -0.08)">'
    b"<text>C = 64</text></g>"
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"m0123456789", b"mabcdef0123"),
        (b"10.5", b"10.5009"),
        (b'"7.25"', b'"7.2502"'),
        (b"31.5", b"31.500001"),
    ],
)
def test_a_coordinate_may_be_off_by_less_than_anybody_sees(before: bytes, after: bytes) -> None:
    assert same_drawing(SVG, SVG.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"10.5", b"10.6"),
        (b"31.5", b"31.6"),
        (b"64", b"64.0001"),
        (b"<text>C", b"<text>D"),
        (b" L 3e-2 4", b""),
        (b"M 10.5 20 L", b"L 10.5 20 M"),
        (b"stroke-width: 0.8", b"stroke-width: 0.8001"),
        (b"opacity: 0.4", b"opacity: 0.4001"),
        (b"rotate(-90)", b"rotate(-90.0001)"),
        (b"scale(0.08", b"scale(0.0801"),
    ],
)
def test_anything_else_may_not(before: bytes, after: bytes) -> None:
    assert not same_drawing(SVG, SVG.replace(before, after))
