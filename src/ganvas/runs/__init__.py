"""A run on disk: its directory, its card, its weights, and the request that made it."""
