"""V1: the same constant cells on a live stack and on a virtual clock."""

from __future__ import annotations

from typing import Final

from anarchy.designs.design import Design

DESIGN: Final = Design(
    name="engines",
    id="V1",
    title="the virtual clock against the live stack",
    question="Do numbers in virtual time agree with those of the live stack?",
    key="differences",
    notebook="engines",
    main="sides",
    sort_keys={
        "sides": ("workload", "concurrency", "routing_set"),
        "differences": ("workload", "concurrency"),
    },
    figures={
        "sides": (
            "What the live stack and the virtual clock measured of the same cells, against concurrency, with "
            "95 % intervals. Each engine's PoA-hat is priced by the latency curves of its own cells. The "
            "load range is the fullest decode worker less the emptiest as windows begin."
        ),
        "differences": (
            "How far the virtual clock's number lies from the live stack's, as a share of the latter, with "
            "its 95 % interval. The band is the tolerance, set before the first run; a point outside it is "
            "filled in another colour. The dotted line is C_ref, at which the agreement is split."
        ),
    },
    shows={"differences": "differences"},
    tables={"": "Cells of both engines", "differences": "Differences between the engines"},
)
