"""``python -m reasonrl``."""

from reasonrl.cli import main

main()
