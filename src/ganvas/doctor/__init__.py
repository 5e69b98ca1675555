"""What ails a training, by rules over its log, and the command to run next."""
