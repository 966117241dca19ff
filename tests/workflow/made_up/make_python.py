"""Make a Python whose sweeps make their cells up, in the folder that is named; prints where it is.

It finds the packages of the Python that runs this. PYTHONPATH would not do: a run keeps it out of its jobs.
"""

from __future__ import annotations

import sys
import sysconfig
import venv
from pathlib import Path

folder = Path(sys.argv[1])
venv.create(folder, with_pip=False, symlinks=True)
(packages,) = folder.glob("lib/python*/site-packages")
here = Path(__file__).resolve().parent
project = here.parents[2]  # its tests make the cells up
# The package and the executor plugin, which the driver finds by a .pth file that no other Python reads.
found = (sysconfig.get_path("purelib"), project / "scripts", project, here)
(packages / "made_up.pth").write_text("".join(f"{path}\n" for path in found))
print(folder / "bin" / "python")
