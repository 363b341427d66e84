"""A run: looks, plan, turns, record."""
