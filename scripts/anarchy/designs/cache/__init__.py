"""Working sets around the KV capacity of a pool, played as the KV cache placement game."""
