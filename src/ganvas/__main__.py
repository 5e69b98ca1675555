"""python -m ganvas, and so torchrun -m ganvas."""

from ganvas.cli import main

main()
