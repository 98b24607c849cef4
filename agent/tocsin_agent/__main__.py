"""`python -m tocsin_agent`: the same as `tocsin`."""

from tocsin_agent.cli import main

if __name__ == "__main__":
    main()
