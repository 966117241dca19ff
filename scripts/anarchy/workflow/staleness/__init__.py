"""What an estimate, a figure, a verdict and the report are made by, as digests: see docs/staleness.md."""
