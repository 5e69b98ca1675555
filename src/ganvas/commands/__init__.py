"""The command line: one function a command, in a file of its name. None imports torch at the top."""
