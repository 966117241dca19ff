"""Pages as the site needs them: links that leave the docs, the navigation, diagrams."""

from __future__ import annotations

from pathlib import Path

import pytest

import site_pages
from tests.helpers.places import PROJECT


@pytest.mark.parametrize(
    ("link", "alone", "with_address"),
    [
        (
            "[`windows`](../scripts/anarchy/games/routing.py)",
            "{py:obj}`windows <anarchy.games.routing.windows>`",
            "{py:obj}`windows <anarchy.games.routing.windows>`",
        ),
        (
            "[`Maker`](../scripts/anarchy/designs/__init__.py)",
            "{py:obj}`Maker <anarchy.designs.Maker>`",
            "{py:obj}`Maker <anarchy.designs.Maker>`",
        ),
        (
            "[reuse.py](../scripts/anarchy/serving/reuse.py)",
            "`scripts/anarchy/serving/reuse.py`",
            "[reuse.py](https://host/us/it/blob/main/scripts/anarchy/serving/reuse.py)",
        ),
        (
            "[all of it](../README.md#limits)",
            "all of it (`README.md`)",
            "[all of it](https://host/us/it/blob/main/README.md#limits)",
        ),
        ("[the estimator](estimator.md#intervals)", *["[the estimator](estimator.md#intervals)"] * 2),
        ("![a figure](../data/a.png)", *["![a figure](../data/a.png)"] * 2),
    ],
)
def test_a_link_that_leaves_the_docs_leads_somewhere_on_the_site(
    link: str, alone: str, with_address: str
) -> None:
    assert site_pages.for_site("any", f"See {link}.") == f"See {alone}."
    assert site_pages.for_site("any", f"See {link}.", "https://host/us/it") == f"See {with_address}."


def test_code_is_left_as_it_is() -> None:
    page = "A\n\n```text\n[a](../README.md)\n```\n\n[a](../README.md)\n"
    assert site_pages.for_site("any", page) == page.replace(
        "\n\n[a](../README.md)\n", "\n\na (`README.md`)\n"
    )


def test_a_diagram_of_arrows_becomes_a_table() -> None:
    page = "```mermaid\ngraph TD\n  cli --> report\n  cli --> compare\n  report --> claims\n```"
    assert site_pages.for_site("architecture", page).splitlines() == [
        "| from | to |",
        "|---|---|",
        "| `cli` | `report`, `compare` |",
        "| `report` | `claims` |",
    ]


def test_the_map_becomes_the_navigation() -> None:
    use, reference = "- [A](a.md): it\n- [B](b-c.md): it", "- [D](d.md): it"
    page = f"# Map\n\nWords.\n\n## Use\n\n{use}\n\n## Empty\n\n## Reference\n\n{reference}\n"
    assert site_pages.navigation(page) == {"Use": {"a": "A", "b-c": "B"}, "Reference": {"d": "D"}}
    made = site_pages.for_site("index", page).removeprefix(page)
    assert made.count("```{toctree}") == 2
    entries = [line for line in made.splitlines() if line and line[0] not in "`:"]
    assert entries == ["A <a>", "B <b-c>", "D <d>", "The code <api/anarchy/index>"]
    assert "{toctree}" not in site_pages.for_site("other", page)


@pytest.mark.parametrize(
    ("project", "cited", "address"),
    [
        ("[project]\n", "title: a\n", None),
        (
            "[project]\n[project.urls]\nRepository = 'https://host/us/it/'\n",
            "title: a\n",
            "https://host/us/it",
        ),
        ("[project]\n", 'repository-code: "https://host/us/it"\n', "https://host/us/it"),
    ],
)
def test_the_repositorys_address_is_the_projects_own(
    tmp_path: Path, project: str, cited: str, address: str | None
) -> None:
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "CITATION.cff").write_text(cited)
    assert site_pages.repository(tmp_path) == address


def test_this_project_can_be_asked_for_its_address() -> None:
    assert site_pages.repository(PROJECT) is None or str(site_pages.repository(PROJECT)).startswith(
        "https://"
    )


def test_a_docstring_becomes_paragraphs_items_and_formulas() -> None:
    written = """The *four* costs of a |window|, see `window_costs` and ``SC``.

    SC = sum_i L_i.
    OPTf = min

They are
- one, which goes
  on here
- two
and a_ tail.
Shapes: (W,)
each. Errors: none.""".splitlines()
    assert site_pages.docstring(written) == [
        r"The \*four\* costs of a \|window\|, see ``window_costs`` and ``SC``.",
        "",
        "::",
        "",
        "    SC = sum_i L_i.",
        "    OPTf = min",
        "",
        "They are",
        "",
        "- one, which goes on here",
        "",
        "- two",
        "",
        r"and a\_ tail.",
        "",
        "Shapes: (W,) each. Errors: none.",
        "",
    ]
