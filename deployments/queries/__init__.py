"""Rows to the frozen values the pure parts take."""
