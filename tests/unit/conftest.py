"""Unit tests need no host and no root."""
