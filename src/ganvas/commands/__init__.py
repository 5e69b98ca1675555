"""The command line: one function per command, in a file of its name. No torch at the top of any."""
