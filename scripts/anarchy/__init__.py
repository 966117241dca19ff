"""The price of anarchy of disaggregated inference: deployments, load, traces, games and figures."""
