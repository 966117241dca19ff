"""What is looked for in a built site: links to nothing, and what a browser would fetch from a network."""

from __future__ import annotations

from pathlib import Path

import built_pages


def _site(folder: Path, body: str, style: str = "") -> list[str]:
    (folder / "b").mkdir()
    (folder / "a.html").write_text(f"<html><body>{body}</body></html>")
    (folder / "b" / "index.html").write_text('<h1 id="here">B</h1><img src="../p.png">')
    (folder / "p.png").write_bytes(b"")
    (folder / "s.css").write_text(style)
    return built_pages.problems(folder)


def test_a_whole_site_has_no_problem(tmp_path: Path) -> None:
    body = '<h1 id="top">A</h1><a href="#top"></a><a href="b/#here"></a><a href="b/index.html"></a><a href="https://host/x"></a>'
    assert _site(tmp_path, body, "a {background: url(p.png)}") == []


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    assert _site(tmp_path, '<a href="c.html"></a>') == ["a.html links to c.html, which is not there"]


def test_a_link_to_no_place_of_a_page_is_found(tmp_path: Path) -> None:
    assert _site(tmp_path, '<a href="b/#there"></a>') == [
        "a.html links to b/#there: there is no such place on that page"
    ]


def test_what_a_browser_would_fetch_from_a_network_is_found(tmp_path: Path) -> None:
    found = _site(tmp_path, '<script src="//host/x.js"></script>', "@import 'https://host/font.css';")
    assert found == ["a.html fetches //host/x.js", "s.css fetches https://host/font.css"]
