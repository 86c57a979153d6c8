"""Reading a mapping that a person wrote: every wrong field gets its sentence, and reading goes on.

A `Fields` is one level of a form, a YAML file or a REST body. Its methods read one field each, note what would be
right where the value is not, and give the default back, so that one pass finds all errors. Paths are written with dots
("scale_settings.max_instances"), the same in all three, and an unknown key is an error that names the nearest known
one: a setting that is silently ignored is the worst kind.

Values of HTML forms are text: numbers are read from text as well, and an empty text is a field left out.
"""

import difflib
from collections.abc import Mapping
from typing import Any, Final

from studio.errors import FieldErrors

_MISSING: Final = (None, "")


class Fields:
    """One level of a mapping, with the errors found so far (shared by all levels)."""

    def __init__(self, data: Mapping[str, Any], *, path: str = "", errors: dict[str, list[str]] | None = None) -> None:
        self._data = data
        self._path = path
        self.errors: dict[str, list[str]] = {} if errors is None else errors

    def path_of(self, key: str) -> str:
        """The dotted path of a key of this level."""
        return f"{self._path}.{key}" if self._path else key

    def wrong(self, key: str, sentence: str) -> None:
        """Note what would be right for a field of this level."""
        self.errors.setdefault(self.path_of(key), []).append(sentence)

    def has(self, key: str) -> bool:
        """Whether the person wrote something there."""
        return self._data.get(key) not in _MISSING

    def raw(self, key: str) -> Any:
        """What was written, None when nothing was."""
        return self._data.get(key) if self.has(key) else None

    def only(self, known: tuple[str, ...], *, refused: Mapping[str, str] | None = None) -> None:
        """Note every key that is not known; `refused` maps keys known elsewhere to the sentence why not here."""
        for key in self._data:
            if key in known:
                continue
            self.wrong(str(key), (refused or {}).get(str(key)) or _unknown(str(key), known))

    def text(self, key: str, *, default: str = "", required: str = "") -> str:
        """A text without blanks around it; `required` is the sentence when there is none."""
        value = self.raw(key)
        if value is None:
            if required:
                self.wrong(key, required)
            return default
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            self.wrong(key, "Must be a text.")
            return default
        return str(value).strip()

    def integer(self, key: str, *, default: int, minimum: int, maximum: int) -> int:
        """A whole number between two bounds."""
        value = self.raw(key)
        if value is None:
            return default
        number = _whole(value)
        if number is None:
            self.wrong(key, "Must be a whole number.")
            return default
        if number < minimum:
            self.wrong(key, f"Must be {minimum:,} or more.")
        elif number > maximum:
            self.wrong(key, f"Must be {maximum:,} or less.")
        return number

    def names(self) -> list[str]:
        """The keys of this level, as text."""
        return [str(key) for key in self._data]

    def choice(self, key: str, *, choices: tuple[str, ...], default: str) -> str:
        """One of a few words, in any case."""
        value = self.text(key, default=default).lower()
        if value not in choices:
            self.wrong(key, f"Must be {_either(choices)}.")
            return default
        return value

    def level(self, key: str) -> "Fields":
        """The mapping below a key; an empty one when there is none."""
        value = self.raw(key)
        if value is not None and not isinstance(value, Mapping):
            self.wrong(key, "Must hold keys of its own.")
            value = None
        return Fields(value or {}, path=self.path_of(key), errors=self.errors)

    def texts(self, key: str) -> dict[str, str]:
        """A mapping of texts; numbers become text, true and false must be written in quotes."""
        level = self.level(key)
        found: dict[str, str] = {}
        for name in level.names():
            value = level.raw(name)
            if isinstance(value, bool) or not isinstance(value, str | int | float | None):
                level.wrong(name, 'Must be a text; put it in quotes: "true".')
                continue
            found[name] = "" if value is None else str(value)
        return found

    def percents(self, key: str) -> dict[str, int]:
        """A mapping of whole percents, 0 to 100; entries of 0 are left out."""
        level = self.level(key)
        found = {name: level.integer(name, default=0, minimum=0, maximum=100) for name in level.names()}
        return {name: percent for name, percent in found.items() if percent}

    def finish(self) -> None:
        """Raise FieldErrors when anything was noted."""
        if self.errors:
            raise FieldErrors(self.errors)


def _unknown(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"There is no such setting. Did you mean {near[0]}?" if near else "There is no such setting."


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        return int(str(value).strip())
    except ValueError:
        return None


def _either(choices: tuple[str, ...]) -> str:
    return " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)
