"""E3: staged cells of several policies, held against each other."""
