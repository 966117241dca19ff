"""From traces to numbers: `game` cuts a cell into windows, `ladder` estimates the cells of one grid together.

`system` does it for the run's own deployments (the workflow), with what users feel (`performance`); `traces`
for anybody's folders (`anarchy estimate`), told by `output` and worked out by `explain`.
"""
