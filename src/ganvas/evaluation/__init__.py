"""The quality of generated images: read `evaluate` first."""
