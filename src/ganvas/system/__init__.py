"""The ground that every other package stands on: files, paths, text, settings, the machine."""
