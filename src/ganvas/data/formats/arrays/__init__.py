"""Files of arrays: one module per format, and one each for what arrays, shapes and labels mean."""
