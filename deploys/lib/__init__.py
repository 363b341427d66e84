"""What every role stands on, and no role's knowledge."""

import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
"""What is ours: the checkout, or what a wheel installed. The user's files are elsewhere (`ground/folder.py`)."""

# pyinfra switches it off for the sake of its deploy files, and every run would compile all of ours anew.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
