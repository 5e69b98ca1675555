"""From a request to a run: `launch.train` finds or makes the run, then trains it."""
