"""What every role stands on, and no role's knowledge."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: templates, and paths of `secret:file:` references, are relative to it."""

# pyinfra switches it off for the sake of its deploy files, and every run would compile all of ours anew.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
