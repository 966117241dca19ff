"""V1: the same constant cells on a live stack and on a virtual clock."""
