"""`python -m matphase` is `matphase`."""

from matphase.cli import main

if __name__ == "__main__":
    main()
