"""Starting a training: `launch.train` prepares it, finds or makes its run, and trains it."""
