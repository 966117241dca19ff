"""Every split of a budget of workers under loads and length mixes, played as the P/D resource game."""
