"""Alerts as the Alertmanagers have them: what fires, a test of the ways to people, silences, what became of an alert.

Here are the scripts that ask, the reading of their answers, and the words for it; `deploys/alert.py` asks and prints.
"""
