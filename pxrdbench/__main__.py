"""``python -m pxrdbench``: the verbs, where the script is not on the path."""

from pxrdbench.cli import main

if __name__ == "__main__":
    main()
