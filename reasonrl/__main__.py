"""``python -m reasonrl``."""

from reasonrl.commands import main

main()
