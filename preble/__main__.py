"""`python -m preble` is the `preble` command."""

from preble.cli import main

if __name__ == "__main__":
    main()
