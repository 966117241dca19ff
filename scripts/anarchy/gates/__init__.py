"""The validity gates of a cell: one module a gate, with documented thresholds.

A cell that fails one is kept and shown with the gate's name, and never counted.

A staged cell is asked as one cell, so it counts whole or not at all, and by stages where a stage is what is
estimated: `errors`, `in_flight`, `client_bound`, `short` and `warm_cache` fail when one of its stages fails,
and their numbers are those of the worst. `not_steady` is measured in each stage and never fails it (drift
inside a stage is what a controller that switches, or a queue that grows, looks like); `worker_silent` is
asked over the whole cell.
"""
