"""The entry point of `python -m ganvas`, and of `torchrun -m ganvas`."""

from ganvas.cli import main

# Other processes of a training import this file, too.
if __name__ == "__main__":
    main()
