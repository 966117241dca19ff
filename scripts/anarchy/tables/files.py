"""Tables on disk: raw numbers as CSV, text as LaTeX, each file whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pandas as pd

from anarchy.ground.files import write_whole


def latex(words: pd.DataFrame, caption: str, label: str) -> str:
    """A table of text as LaTeX (booktabs, over two columns): needs the package booktabs."""
    columns = "".join("l" if _is_text(words[name]) else "r" for name in words)
    lines = [
        r"\begin{table*}",
        r"  \centering",
        rf"  \caption{{{_escape(caption)}}}",
        rf"  \label{{{label}}}",
        r"  \footnotesize\setlength{\tabcolsep}{3pt}",
        rf"  \begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"    \toprule",
        "    " + " & ".join(_escape(str(name)) for name in words) + r" \\",
        r"    \midrule",
        *("    " + " & ".join(_escape(str(value)) for value in row) + r" \\" for row in words.to_numpy()),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _is_text(column: pd.Series[Any]) -> bool:
    return not any(str(value)[:1].isdigit() for value in column)


_LATEX: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "×": r"$\times$",
    "[": "{[}", "]": "{]}",
}  # fmt: skip
"""Characters that LaTeX reads as its own; a bracket after a line's end would be read as its argument."""


def _escape(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return escaped.replace("PoA-hat", r"$\widehat{\mathrm{PoA}}$").replace(
        "PoA-cal", r"$\mathrm{PoA}_{\mathrm{cal}}$"
    )


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write raw numbers, whole or not at all."""
    write_whole(path, table.to_csv(index=False, lineterminator="\n").encode())
    return path


def write_latex(words: pd.DataFrame, path: Path, *, caption: str) -> Path:
    """Write a table of text as LaTeX; its label is the file's name."""
    write_whole(path, latex(words, caption, f"tab:{path.stem}").encode())
    return path
