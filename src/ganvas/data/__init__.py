"""Images as one uint8 tensor with optional labels, from wherever they lie.

`load()` reads a name or a path (embedded digits, torchvision sets, IDX, folders, zips, npz) into a `Dataset`.
"""
