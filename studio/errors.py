"""Errors that people read. Everything else is a bug and becomes the 500 page.

A message names the object, the cause and the next step, in whole sentences.
"""

from collections.abc import Mapping, Sequence


class SlipwayError(Exception):
    """Something the person can understand and mend. `status` is the HTTP status it becomes."""

    status = 409

    @property
    def message(self) -> str:
        return str(self)


class FieldErrors(SlipwayError):  # noqa: N818 - it is several
    """What is wrong, field by field: a field's path ("scale.max") to sentences that say what would be right."""

    status = 422

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors: dict[str, list[str]] = {path: list(sentences) for path, sentences in errors.items()}
        super().__init__(" ".join(f"{path}: {' '.join(lines)}" for path, lines in self.errors.items()))
