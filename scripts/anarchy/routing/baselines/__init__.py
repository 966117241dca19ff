"""Policies of our own, a file each: held against Dynamo's, and pinned."""
