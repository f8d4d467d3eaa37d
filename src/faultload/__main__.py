"""`python -m faultload`: the command line, where no script is on the PATH."""

from faultload.cli import main

if __name__ == "__main__":
    main()
