"""Designs of experiments: one folder each, with everything that makes it one."""
