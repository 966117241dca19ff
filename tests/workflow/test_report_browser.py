"""The report as a reader meets it: opened from disk in a real browser, on a phone and on a desk."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from anarchy import claims, report
from anarchy.claims import judge
from anarchy.claims.elements import load_elements
from anarchy.claims.model import OUTCOMES
from anarchy.designs.ladder.design import DESIGN as LADDER
from anarchy.designs.loading import load_systems
from anarchy.designs.registry import designs
from anarchy.ground.layout import Layout
from tests.helpers.drawings import WRITERS, drawn_results
from tests.helpers.synthetic_estimates import write_results

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SPOILED: Final = 'three regimes <everywhere> & "always"'
"""What a page must not take for its own."""

Opened = tuple[Any, list[str]]
"""A page, and whatever went wrong with it."""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Results of every experiment, of three systems in E1, of which this run made two, and the report."""
    root = tmp_path_factory.mktemp("results")
    layout = drawn_results(tmp_path_factory, root, *WRITERS)
    systems = load_systems(layout)
    for system in systems:
        if system.experiment == "equilibrium" and system.key == ("llama-3.1-70b", "1p2d"):
            notebook = layout.notebook("equilibrium", *system.key)
            notebook.parent.mkdir(parents=True)
            notebook.write_text("{}", encoding="utf-8")
    verdicts = judge(claims.load(), [system.document for system in systems])
    verdicts[0] = replace(verdicts[0], sentence=SPOILED)
    claims.write(verdicts, layout.root)
    found = claims.read(layout.claims.with_suffix(".json"))
    report.write_summary(layout, found)
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
            ["split", "llama-3.1-70b", "1p5d"],
            ["cache", "llama-3.1-70b", "3p3d"],
        ],
        "predicted_s": 700.0,
        "measured_s": 731.0,
        "versions": {"snakemake": "9"},
        "command": "make reproduce TIER=quick MODELS=llama-3.1-70b",
    }
    report.write(layout, report.render(layout, run, found))
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


@pytest.fixture(scope="module")
def pages(chromium: Any, layout: Layout) -> Iterator[Callable[[int, str], Opened]]:
    """The page at a width and in a colour scheme, everything unfolded: opened once for all tests of it."""
    pages: dict[tuple[int, str], Opened] = {}

    def opened(width: int, scheme: str) -> Opened:
        if (width, scheme) not in pages:
            pages[width, scheme] = _open(chromium, layout, width, scheme)
        return pages[width, scheme]

    yield opened
    for page, _ in pages.values():
        page.close()


def _open(chromium: Any, layout: Layout, width: int, scheme: str) -> Opened:
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
    return page, faults


@pytest.fixture
def opened(pages: Callable[[int, str], Opened], request: pytest.FixtureRequest) -> Opened:
    """The page that a test asks for, which it leaves as it found it."""
    return pages(*request.param)


RARE = pytest.mark.nightly
EVERYWHERE = pytest.mark.parametrize(
    "opened",
    [
        (390, "light"),
        (1440, "dark"),
        pytest.param((390, "dark"), marks=RARE),
        pytest.param((768, "light"), marks=RARE),
        pytest.param((1440, "light"), marks=RARE),
    ],
    indirect=True,
    ids=str,
)
ON_A_PHONE = pytest.mark.parametrize("opened", [(390, "light")], indirect=True)
ON_A_DESK = pytest.mark.parametrize("opened", [(1440, "dark")], indirect=True)


@pytest.mark.browser
@EVERYWHERE
def test_page_is_whole_silent_and_fits(opened: Opened) -> None:
    page, faults = opened
    assert faults == []
    images = page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.alt.length])")
    of_all_systems = 3  # claims, ladders, readings
    drawn = sum(len(design.figures) for design in designs()) + 2 * len(LADDER.figures)
    assert len(images) == of_all_systems + drawn
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
def test_text_is_large_and_dark_enough(opened: Opened) -> None:
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
def test_figures_are_legible_on_a_phone(opened: Opened) -> None:
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
@pytest.mark.parametrize("opened", [(390, "light"), (1440, "dark")], indirect=True, ids=str)
def test_every_claim_is_a_tile_that_is_read_without_scrolling(opened: Opened) -> None:
    page, _ = opened
    width = page.viewport_size["width"]
    tiles = page.evaluate(
        """[...document.querySelectorAll('.tile')].map(t => [t.querySelector('h3').textContent,
             ...(b => [b.left, b.right, b.width])(t.getBoundingClientRect()),
             t.scrollWidth - t.clientWidth])"""
    )
    assert [words.split()[0] for words, *_ in tiles] == [claim.id for claim in claims.load().claims]
    for words, left, right, wide, over in tiles:
        assert any(outcome in words for outcome in OUTCOMES)
        assert 0 <= left < right <= width
        assert wide > 200
        assert over <= 0
    boxes = page.evaluate("[...document.querySelectorAll('.cards')].map(b => [b.scrollWidth, b.clientWidth])")
    assert len(boxes) == 2
    assert all(content <= shown for content, shown in boxes)


@pytest.mark.browser
@ON_A_DESK
def test_the_first_screen_holds_what_was_learned_and_the_first_tiles(opened: Opened) -> None:
    page, _ = opened
    page.evaluate("scrollTo(0, 0)")
    tops = page.evaluate(
        """['.learned', '.counts', '.tile'].map(name =>
             [...document.querySelectorAll(name)].map(e => e.getBoundingClientRect().top)).flat()"""
    )
    assert len(tops) == 2 + len(claims.load().claims)
    assert sum(top < 900 for top in tops) >= 2 + 5, "fewer than a row of tiles is on the first screen"


@pytest.mark.browser
@ON_A_DESK
def test_a_figure_grows_when_it_is_asked_to(opened: Opened) -> None:
    page, _ = opened
    link = page.locator("figure.single .zoom").first
    image = page.locator("figure.single img").first
    before = image.bounding_box()["width"]
    link.focus()
    page.keyboard.press("Enter")
    assert image.bounding_box()["width"] > 1.4 * before
    page.evaluate("location.hash = ''")


@pytest.mark.browser
@ON_A_PHONE
def test_a_table_wider_than_the_screen_says_so(opened: Opened) -> None:
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
def test_attempts_are_filtered_sorted_and_saved(opened: Opened, layout: Layout) -> None:
    page, _ = opened
    attempts = sum(len(system.attempts) for system in load_systems(layout))
    rows = page.locator("#attempt-table tbody tr")
    assert rows.count() == attempts > 100
    box = page.locator("#attempt-list input[type=search]")
    box.fill("nemotron client_bound")
    assert rows.count() == 2
    assert f"2 rows of {attempts}" in " ".join(page.locator("#attempt-list .dt-info").inner_text().split())
    box.fill("")
    assert rows.count() == attempts
    head = page.locator("#attempt-table thead th").nth(5)
    assert head.inner_text().startswith("C")
    head.locator(".dt-column-order").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    numbers = [int(text) for text in page.locator("#attempt-table tbody td:nth-child(6)").all_inner_texts()]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 3
    with page.expect_download() as saved:
        page.locator("#attempt-list").get_by_role("button", name="Save as CSV").click()
    lines = saved.value.path().read_text(encoding="utf-8").splitlines()
    assert len([row for row in csv.reader(lines) if row]) == 1 + attempts


@pytest.mark.browser
@ON_A_DESK
def test_links_lead_to_files_and_sections(opened: Opened, layout: Layout) -> None:
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
def test_page_is_accessible(opened: Opened) -> None:
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
    assert page.evaluate("[...document.querySelectorAll('summary')].every(s => s.textContent.trim())")


@pytest.mark.browser
@pytest.mark.nightly
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_axe_finds_nothing(chromium: Any, layout: Layout, width: int, scheme: str) -> None:
    """The rules of axe-core, which look at more than the tests above, on a page with everything unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    viewport = {"width": width, "height": 900}
    with chromium.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=True) as context:
        page = context.new_page()
        page.goto(layout.report.resolve().as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        page.wait_for_function("document.querySelectorAll('.dt-container').length > 5")
        found = axe.Axe().run(page).response
    assert len(found["passes"]) > 20
    assert [(one["impact"], one["id"], one["help"]) for one in found["violations"]] == []


@pytest.mark.browser
@pytest.mark.parametrize("opened", [(703, "light")], indirect=True)
def test_printed_page_is_not_cut(opened: Opened) -> None:
    """703 px is the width of A4 within margins of 12 mm."""
    page, _ = opened
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 703
    assert not page.is_visible("#attempt-list input[type=search]")
    page.emulate_media(media="screen")


def test_report_holds_everything_and_names_no_network(layout: Layout) -> None:
    html = layout.report.read_text(encoding="utf-8")
    assert len(html) < 6_000_000
    text = re.sub(r'(src|srcset)="[^"]*"|<script type="module">.*?</script>', "", html, flags=re.DOTALL)
    assert "http://" not in text
    assert "https://" not in text
    for said in (
        "not part of this run", "errors, worker_silent", "What is simulated", "12 min 11 s", "11 min 40 s",
        "make reproduce TIER=quick MODELS=llama-3.1-70b", "1.04", "not reproduced", "routing self-test",
        "1.5.1",
        "three regimes &lt;everywhere&gt; &amp; &#34;always&#34;",
    ):  # fmt: skip
        assert said in text, said
    assert text.count('class="mark">not part of this run') == 1
    assert "Kneedle says C = 128, TTFT P99 &gt; 2x its plateau from C = 128" in text
    assert "launch 1 0.345" in text
    assert "vllm" not in text
    assert "this report as it was made" in text


def test_every_table_and_figure_of_the_paper_is_on_the_page(layout: Layout) -> None:
    html = layout.report.read_text(encoding="utf-8")
    section = html[html.index('<section id="elements">') :].partition("</section>")[0]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', section, re.DOTALL)
    assert [name for name, _ in rows] == [element.id for element in load_elements()]
    for (name, cells), element in zip(rows, load_elements(), strict=True):
        assert ("none: " in cells) == bool(element.reason), name
        assert cells.count('href="#adaptive"') == sum(out.design == "stages" for out in element.outputs), name


def test_a_remark_stands_once(layout: Layout) -> None:
    html = layout.report.read_text(encoding="utf-8")
    notes = re.findall(r'<li id="note-\d+">(.*?)</li>', html)
    assert len(notes) > 5
    assert all(html.count(note) == 1 for note in notes)
    assert html.count("no measurement of the hardware") == sum("no measurement" in note for note in notes)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Results of one system in E1, without figures."""
    layout = write_results(tmp_path_factory.mktemp("small"), grid=(8, 64))
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
    assert 'class="tile' not in html


def test_a_report_without_a_claim_says_so(small: Layout) -> None:
    html = report.render(small, {}, [])
    assert "There is no claim to compare." in html
    assert 'class="tile' not in html
