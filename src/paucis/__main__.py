"""``python -m paucis``."""

from paucis.cli import main

main()
