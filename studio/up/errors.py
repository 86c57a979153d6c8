"""Why Slipway cannot start: always one sentence that says what to do."""


class CannotStartError(Exception):
    """The sentence for the person at the terminal; the program ends with exit code 1."""
