"""The glossary has every word that README and docs use in a sense of their own."""

from __future__ import annotations

import re

from tests.helpers.places import PROJECT

TERMS = [
    "1P/2D",
    "concurrency",
    "PoA-cal",
    "PoA-hat",
    "TTFT",
    "ITL",
    "KV cache",
    "adaptive",
    "agreement",
    "artifact",
    "cell",
    "choices",
    "claim",
    "closed loop",
    "controller",
    "curve",
    "decode",
    "deployment",
    "design",
    "dilation",
    "dispersion of arrivals",
    "dynamics",
    "engine",
    "equivalence test",
    "freezing",
    "frozen",
    "gate",
    "head and tail",
    "held",
    "herding",
    "hot template",
    "in step",
    "interval",
    "knee",
    "launch",
    "level",
    "live",
    "load",
    "margin",
    "matching",
    "omega",
    "open loop",
    "overlap",
    "pair",
    "part",
    "plateau",
    "policy",
    "policy set",
    "prefill",
    "reading",
    "regime",
    "router",
    "routing",
    "run",
    "seal",
    "site",
    "stage",
    "start",
    "static",
    "synchrony",
    "system",
    "tau",
    "template",
    "think time",
    "tier",
    "tolerance",
    "topology",
    "verdict",
    "virtual time",
    "window",
    "workload",
]
NAMES_OF_FILES = [
    "way",
    "trial",
    "routing_set",
    "sittings.jsonl",
    "think_s",
    "send_every_s",
    "backlog_rps",
    "level_over",
    "unique_tail_tokens",
]
GLOSSARY = (PROJECT / "docs" / "glossary.md").read_text(encoding="utf-8")


def test_every_term_has_an_entry_with_words() -> None:
    entries = dict(re.findall(r"^### (.+)\n\n(.+)$", GLOSSARY, re.MULTILINE))
    assert {term for term in TERMS if term not in entries} == set()


def test_terms_stand_in_order_and_once() -> None:
    for section in GLOSSARY.split("\n## ")[1:]:
        terms = [term.lower() for term in re.findall(r"^### (.+)$", section, re.MULTILINE)]
        assert terms == sorted(set(terms))


def test_names_that_files_keep_are_explained() -> None:
    assert [name for name in NAMES_OF_FILES if f"`{name}`" not in GLOSSARY] == []
