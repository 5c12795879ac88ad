"""``python -m pxrdbench.cli``: the way in for torchrun, which starts modules."""

from pxrdbench.cli import main

if __name__ == "__main__":
    main()
