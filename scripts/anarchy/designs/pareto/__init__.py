"""E4: constant cells at named loads over a grid of (tau, omega)."""
