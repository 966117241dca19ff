"""The library that sorts, filters and saves the page's tables: DataTables, from the package itables."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from anarchy.ground.errors import UserError

BUNDLE: Final = Path("html") / "dt_bundle.js"
"""Where the package has it: one module of JavaScript, licences included."""


def data_tables() -> str:
    """JavaScript of the library, which names its class ``DataTable``, for a script element of type module.

    Raises ModuleNotFoundError where the package is not installed, UserError where it is not as expected.
    """
    spec = find_spec("itables")  # the file alone is needed: the package would load notebooks' machinery
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'itables'", name="itables")
    file = Path(spec.submodule_search_locations[0]) / BUNDLE
    code, _, rest = (file.read_text(encoding="utf-8") if file.is_file() else "").rpartition("export{")
    exported = re.search(r"(?:^|,)(\w+) as default\b", rest.partition("}")[0])
    if exported is None:
        raise UserError("is not the library that was expected", where=file, remedy="make setup")
    licences = rest.partition("}")[2].lstrip("; \n")
    return f"{code}const DataTable={exported[1]};\n{licences}".replace("</script", "<\\/script")
