"""python -m ganvas, and so torchrun -m ganvas."""

from ganvas.cli import main

if __name__ == "__main__":  # other processes of one training import this file, too
    main()
