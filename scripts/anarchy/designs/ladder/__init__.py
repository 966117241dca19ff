"""E1: constant cells over a grid of C, and the knee that they bend at."""
