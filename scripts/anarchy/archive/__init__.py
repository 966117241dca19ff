"""A run as one file for a repository of data: a Workflow Run RO-Crate in a zip, and its check.

`contents` says what goes in, `crate` describes it, `building` puts both together, `zipped` writes and reads
the file within bounds, `checking` holds every file against its checksum, `redrawing` makes the numbers again,
`comparing` and `drawings` say what came out otherwise; `software` says what this artifact is.
`validate_crate` runs in an environment of its own.
"""
