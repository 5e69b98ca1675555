"""From a generator to images, sheets and files."""
