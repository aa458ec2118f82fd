"""`python -m h2a_lib.commands` is `h2a`."""

from h2a_lib.commands.app import main

if __name__ == "__main__":
    main()
