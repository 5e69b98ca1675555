"""How good generated images are: read `evaluate` first."""
