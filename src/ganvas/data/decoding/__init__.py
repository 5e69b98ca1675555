"""From picture files, and arrays of any depth, to 8-bit pixels of one size."""
