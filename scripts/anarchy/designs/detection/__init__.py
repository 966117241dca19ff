"""E2: staged cells of static policies, with detectors that only watch."""
