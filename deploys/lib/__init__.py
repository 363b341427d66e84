"""What every role stands on, and no role's knowledge."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: templates, and paths of `secret:file:` references, are relative to it."""
