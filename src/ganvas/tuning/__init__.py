"""The search for settings: short trainings, scored on held-out images."""
