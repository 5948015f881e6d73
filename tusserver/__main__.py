"""`python -m tusserver` is the command `tusserver`."""

from tusserver.cli.main import main

if __name__ == "__main__":
    main()
