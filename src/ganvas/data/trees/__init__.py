"""Trees of pictures, in folders and archives: their parts, and the classes of their pictures."""
