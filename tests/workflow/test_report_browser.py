"""The report as a reader meets it: opened from disk in a real browser, on a phone and on a desk."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from anarchy import report
from anarchy.designs.ladder.design import DESIGN as LADDER
from anarchy.designs.loading import load_systems
from anarchy.designs.registry import designs
from anarchy.ground.layout import Layout
from tests.helpers.drawings import WRITERS, drawn_results

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
CLAIMS: list[dict[str, Any]] = [
    {"id": "C1", "claim": "three regimes <everywhere> & \"always\"", "published": "structure",
     "measured": "2 of 3 systems", "verdict": "not reproduced", "reason": "no knee on one",
     "engine": "simulated", "tier": "quick",
     "parts": [{"system": "Llama-3.1-70B 1P/2D", "verdict": "not reproduced", "reason": "no knee"}]},
    {"id": "C8", "claim": "adaptive against static", "published": "3.1x", "measured": None,
     "verdict": "not testable here", "reason": "", "engine": None},
]  # fmt: skip


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Results of every experiment, of three systems in E1, of which this run made two, and the report."""
    root = tmp_path_factory.mktemp("results")
    layout = drawn_results(tmp_path_factory, root, *WRITERS)
    for system in load_systems(layout, "equilibrium")[:1]:
        notebook = layout.notebook("equilibrium", *system.key)
        notebook.parent.mkdir(parents=True)
        notebook.write_text("{}", encoding="utf-8")
    report.write_summary(layout)
    run = {
        "tier": "quick",
        "systems": [
            ["equilibrium", "llama-3.1-70b", "1p2d"],
            ["equilibrium", "llama-3.1-70b", "1p5d"],
            ["saturation", "llama-3.1-70b", "1p2d"],
            ["adaptive", "llama-3.1-70b", "1p2d"],
            ["pareto", "llama-3.1-70b", "1p2d"],
            ["engines", "llama-3.1-70b", "1p2d"],
            ["step", "llama-3.1-70b", "1p2d"],
        ],
        "predicted_s": 700.0,
        "measured_s": 731.0,
        "versions": {"snakemake": "9"},
        "command": "make reproduce TIER=quick MODELS=llama-3.1-70b",
    }
    report.write(layout, report.render(layout, run, CLAIMS))
    return layout


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, headless; skipped where there is none, but never in CI."""
    playwright = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail("no chromium on this machine: envs/apt-install chromium")
        pytest.skip("no chromium on this machine: envs/apt-install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, layout: Layout, request: pytest.FixtureRequest) -> Iterator[tuple[Any, list[str]]]:
    """The page at the width asked for, every attempt unfolded, and whatever went wrong with it."""
    width, scheme = request.param
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    faults: list[str] = []
    address = layout.report.resolve().as_uri()
    page.on("console", lambda message: faults.append(f"console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("requestfailed", lambda asked: faults.append(f"failed: {asked.url[:80]}"))
    page.on(
        "request",
        lambda asked: (
            faults.append(f"asked for {asked.url[:80]}")
            if asked.url != address and not asked.url.startswith("data:")
            else None
        ),
    )
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    yield page, faults
    page.close()


EVERYWHERE = pytest.mark.parametrize(
    "opened", [(390, "light"), (390, "dark"), (1440, "light"), (1440, "dark")], indirect=True
)
ON_A_PHONE = pytest.mark.parametrize("opened", [(390, "light")], indirect=True)
ON_A_DESK = pytest.mark.parametrize("opened", [(1440, "light")], indirect=True)


@pytest.mark.browser
@EVERYWHERE
def test_page_is_whole_silent_and_fits(opened: tuple[Any, list[str]]) -> None:
    page, faults = opened
    assert faults == []
    images = page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.alt.length])")
    assert len(images) == 2 + 2 * len(LADDER.figures) + sum(len(design.figures) for design in designs())
    assert all(complete and width > 0 and words > 60 for complete, width, words in images)
    sizes = page.evaluate(
        "(e => [e.scrollWidth, document.body.scrollWidth, e.clientWidth])(document.documentElement)"
    )
    assert max(sizes[:2]) <= sizes[2]
    outside = page.evaluate(
        """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll')
             && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
             .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []


@pytest.mark.browser
@EVERYWHERE
def test_text_is_large_and_dark_enough(opened: tuple[Any, list[str]]) -> None:
    page, _ = opened
    found = page.evaluate(
        r"""() => {
          const rgb = c => c.match(/[\d.]+/g).map(Number);
          const light = c => { const [r, g, b] = rgb(c).slice(0, 3).map(v => { v /= 255;
            return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
          const behind = e => { for (; e; e = e.parentElement) {
            const c = getComputedStyle(e).backgroundColor;
            if (rgb(c)[3] !== 0) return c; } return 'rgb(255, 255, 255)'; };
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), out = [];
          while (walker.nextNode()) { const e = walker.currentNode.parentElement;
            if (!walker.currentNode.textContent.trim() || ['SCRIPT', 'STYLE'].includes(e.tagName)) continue;
            const style = getComputedStyle(e), a = light(style.color), b = light(behind(e));
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            out.push([parseFloat(style.fontSize), contrast, e.outerHTML.slice(0, 80)]);
          } return out; }"""
    )
    assert len(found) > 300
    assert [entry for entry in found if entry[0] < 11] == []
    assert [entry for entry in found if entry[1] < 4.5] == []


@pytest.mark.browser
@ON_A_PHONE
def test_figures_are_legible_on_a_phone(opened: tuple[Any, list[str]]) -> None:
    """Text of 8 points in a figure 3.35 inches wide must come out at 10 px or more."""
    page, _ = opened
    shown = page.evaluate(
        """[...document.images].map(i => [i.currentSrc.length,
             i.clientWidth - 2 * parseFloat(getComputedStyle(i).paddingLeft), i.naturalWidth])"""
    )
    for length, width, natural in shown:
        assert length > 1000
        assert natural < 400, "the wide figure is shown on a phone"
        assert 8 * 96 / 72 * width / natural >= 10


@pytest.mark.browser
@ON_A_PHONE
def test_claims_and_summary_are_read_on_a_phone_without_scrolling(opened: tuple[Any, list[str]]) -> None:
    page, _ = opened
    for name in ("verdict", "published", "measured", "reason"):
        cells = page.evaluate(
            """name => [...document.querySelectorAll(`#claim-table td[data-label=${name}]`)].flatMap(cell =>
                 [cell, ...cell.querySelectorAll('*')]).map(e => e.getBoundingClientRect())
                 .map(box => [box.left, box.right, box.width, box.height])""",
            name,
        )
        assert len(cells) >= 2 * len(CLAIMS)
        for left, right, width, height in cells:
            assert 0 <= left < right <= 390
            assert width > 20
            assert height > 10
    boxes = page.evaluate("[...document.querySelectorAll('.cards')].map(b => [b.scrollWidth, b.clientWidth])")
    assert len(boxes) == 2
    assert all(content <= shown for content, shown in boxes)


@pytest.mark.browser
@ON_A_PHONE
def test_a_table_wider_than_the_screen_says_so(opened: tuple[Any, list[str]]) -> None:
    page, _ = opened
    page.wait_for_function("!document.querySelector('#attempt-list .hint').hidden")
    boxes = page.evaluate(
        """[...document.querySelectorAll('.scroll')].map(b => [b.scrollWidth > b.clientWidth + 1,
             !b.previousElementSibling.querySelector('.hint').hidden])"""
    )
    assert [wide for wide, _ in boxes] == [hinted for _, hinted in boxes]
    assert sum(wide for wide, _ in boxes) >= 4


@pytest.mark.browser
@ON_A_DESK
def test_claims_are_read_on_a_desk_without_scrolling(opened: tuple[Any, list[str]]) -> None:
    page, _ = opened
    boxes = page.evaluate("[...document.querySelectorAll('.cards')].map(b => [b.scrollWidth, b.clientWidth])")
    assert len(boxes) == 2
    assert all(content <= shown for content, shown in boxes)


@pytest.mark.browser
@ON_A_DESK
def test_filter_finds_failed_attempts(opened: tuple[Any, list[str]], layout: Layout) -> None:
    page, _ = opened
    attempts = sum(len(system.attempts) for system in load_systems(layout))
    visible = "[...document.querySelectorAll('#attempt-table tbody tr')].filter(r => !r.hidden).length"
    assert page.evaluate(visible) == attempts > 100
    page.check("#failed")
    assert page.evaluate(visible) == 3
    page.fill("#words", "nemotron CLIENT_bound")
    assert page.evaluate(visible) == 2
    assert page.text_content("#shown") == f"2 of {attempts} shown"


@pytest.mark.browser
@ON_A_DESK
def test_links_lead_to_files_and_sections(opened: tuple[Any, list[str]], layout: Layout) -> None:
    page, _ = opened
    links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    assert any(link.endswith(".ipynb") for link in links)
    for link in links:
        if link.startswith("#"):
            assert page.query_selector(f'[id="{link[1:]}"]') is not None
        else:
            assert not link.startswith(("/", "http"))
            assert (layout.report.parent / link).is_file()


@pytest.mark.browser
@ON_A_DESK
def test_page_is_accessible(opened: tuple[Any, list[str]]) -> None:
    page, _ = opened
    assert page.get_attribute("html", "lang") == "en"
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    tables = page.evaluate(
        """[...document.querySelectorAll('table')].map(t => [t.getAttribute('aria-label'),
             ...['thead th[scope=col]', 'thead th', 'tbody tr', 'tbody th[scope=row]']
             .map(what => t.querySelectorAll(what).length)])"""
    )
    assert len(tables) >= 7
    for label, scoped, heads, rows, named in tables:
        assert label
        assert scoped == heads > 1
        assert rows == named > 0
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every(s => s.tabIndex === 0)")


@pytest.mark.browser
@pytest.mark.parametrize("opened", [(703, "light")], indirect=True)
def test_printed_page_is_not_cut(opened: tuple[Any, list[str]]) -> None:
    """703 px is the width of A4 within margins of 12 mm."""
    page, _ = opened
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 703
    assert not page.is_visible("#filter")


def test_report_holds_everything_and_names_no_network(layout: Layout) -> None:
    html = layout.report.read_text(encoding="utf-8")
    assert len(html) < 8_000_000
    text = re.sub(r'(src|srcset)="[^"]*"', "", html)
    assert "http://" not in text
    assert "https://" not in text
    for said in (
        "not part of this run", "errors, worker_silent", "What is simulated", "12 min 11 s", "11 min 40 s",
        "make reproduce TIER=quick MODELS=llama-3.1-70b", "1.04", "not reproduced", "routing self-test",
        "1.5.1",
        "three regimes &lt;everywhere&gt; &amp; &#34;always&#34;",
    ):  # fmt: skip
        assert said in text, said
    assert text.count("not part of this run") == 1
    assert "Kneedle says C = 128, TTFT P99 &gt; 2x its plateau from C = 128" in text
    assert "launch 1 0.345" in text
    assert "vllm" not in text
    assert "this report as it was made" in text


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Results of one system in E1."""
    layout = drawn_results(tmp_path_factory, tmp_path_factory.mktemp("small"), "equilibrium")
    for folder in layout.estimated()[1:]:
        shutil.rmtree(folder)
    return layout


def test_the_command_is_given_once(small: Layout) -> None:
    html = report.render(small, {"tier": "quick", "command": "make reproduce TIER=quick"}, None)
    assert html.count("make reproduce TIER=quick</code>") == 1
    assert "this report as it was made" not in html


def test_report_without_claims_or_run_information_says_so(small: Layout) -> None:
    html = report.render(small, {}, None)
    assert "were not compared in this run" in html
    assert "not part of this run" not in html
