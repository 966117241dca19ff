"""E2: staged cells of static policies, with detectors that only watch."""

from __future__ import annotations

from typing import Final

from anarchy.designs.design import Design

DESIGN: Final = Design(
    name="detection",
    id="E2",
    title="when detectors notice saturation",
    question="How soon does a detector notice that the load crossed the knee, and does it cry wolf?",
    notebook="saturation",
    main="stages",
    figures={
        "series": (
            "What two detectors made of one staged cell. Above: the offered load and the knee. Middle: TTFT "
            "P99 of each second, and of each poll as the client measured it and as the frontends' histograms "
            "tell it (bars: the bucket that it lies in), with each detector's thresholds. Below: the regime "
            "that each told, with the time from crossing the knee to the first switch up."
        ),
        "curvature": (
            "Mean TTFT in C, on the way up and down, and its second divided difference on the way up: where "
            "latency bends upwards the load passes the knee, whatever a detector says. Rising and falling "
            "branches that differ show what a stage leaves to the next."
        ),
    },
    shows={"series": "series"},
    tables={"": "Policies and stages", "detection": "Detectors"},
)
