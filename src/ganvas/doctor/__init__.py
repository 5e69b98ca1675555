"""Diagnoses a training by rules over its log, and names the command to run next."""
