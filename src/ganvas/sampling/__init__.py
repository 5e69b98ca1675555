"""Images from a generator, as arrays, sheets and files."""
