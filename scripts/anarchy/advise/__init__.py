"""Which split, tau and omega serve an operator's own requests best, by replaying them in virtual time."""
