"""The machine below: files, paths, threads, signals, random draws, the terminal."""
