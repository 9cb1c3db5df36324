"""`python -m reasonrl_sandbox`: the commands of `reasonrl sandbox`."""

from reasonrl_sandbox.command_line import main

if __name__ == "__main__":
    main()
