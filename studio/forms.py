"""A form on a page: its fields with what was typed and what is wrong, for first showing and for showing again.

    Field (declared by an app) + values + errors by path -> Form -> templates/studio/forms/field.html, complaints.html

The HTML name of a field is the path of the setting ("scale_settings.max_instances"), so what a service or a spec says
of a path finds its field without a table in between. An error below a field ("limits.nvidia.com/gpu") is shown at the
nearest field above it; one that has no field at all is shown over the form.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a select or of radio buttons."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """A field. `kind` is text, number, select, textarea, file, radio or tick; a Form fills in `value` and `errors`."""

    path: str  # the setting's path, and the HTML name
    label: str
    kind: str = "text"
    hint: str = ""
    options: tuple[Option, ...] = ()
    unit: str = ""
    rows: int = 4
    mono: bool = False
    multiple: bool = False
    name: str = ""  # how templates call it, where that is not its path
    value: str = ""
    errors: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What follows `form.` in a template: its name, else the path with underscores for dots."""
        return self.name or self.path.replace(".", "_")

    @property
    def id(self) -> str:
        """Id of its control; the summary of errors links there."""
        return f"f-{self.key.replace('_', '-')}"

    @property
    def described_by(self) -> str:
        """Ids of what explains the control: the error first, then the hint."""
        return " ".join(([f"{self.id}-e"] if self.errors else []) + ([f"{self.id}-h"] if self.hint else []))


@dataclass(frozen=True, slots=True)
class Complaint:
    """One line of the summary over a form: the field's name, and what goes on after it."""

    label: str
    text: str
    href: str  # "" when it belongs to no field


@dataclass(frozen=True)
class Form:
    """Fields, values by path, errors by path. Templates say `form.KEY`."""

    fields: Sequence[Field]
    values: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Field:
        for each in self.fields:
            if each.key == key:
                return self._bind(each)
        raise KeyError(key)

    def __iter__(self) -> Iterator[Field]:
        return (self._bind(each) for each in self.fields)

    @property
    def complaints(self) -> tuple[Complaint, ...]:
        """Everything that is wrong, in the order of the fields; what belongs to no field comes last."""
        found = [
            Complaint(label=each.label, text=_as_clause(sentence), href=f"#{each.id}")
            for each in self
            for sentence in each.errors
        ]
        homeless = [path for path in self.errors if self._home_of(path) is None]
        return (*found, *(Complaint(label=p, text=_as_clause(s), href="") for p in homeless for s in self.errors[p]))

    def _bind(self, each: Field) -> Field:
        said = [
            sentence if path == each.path else f"{path.removeprefix(each.path + '.')}: {sentence}"
            for path, sentences in self.errors.items()
            if self._home_of(path) == each
            for sentence in sentences
        ]
        return replace(each, value=self.values.get(each.path, each.value), errors=tuple(said))

    def _home_of(self, path: str) -> Field | None:
        """The field an error is shown at: the one of that path, or of the nearest path above it."""
        above = [each for each in self.fields if path == each.path or path.startswith(each.path + ".")]
        return max(above, key=lambda each: len(each.path), default=None)


def _as_clause(sentence: str) -> str:
    """After the field's name: "must be 3 or more.", or a sentence of its own behind a colon."""
    return f" {sentence[:1].lower()}{sentence[1:]}" if sentence.startswith("Must ") else f": {sentence}"


def read_values(data: Mapping[str, Any], *, fields: Sequence[Field]) -> dict[str, str]:
    """What was typed, by path, without blanks around it and with the line ends of a text file; files are read apart."""
    return {each.path: _plain(str(data.get(each.path, ""))) for each in fields if each.kind != "file"}


def _plain(text: str) -> str:
    return text.replace("\x00", "").replace("\r\n", "\n").strip()  # nobody types a NUL, and PostgreSQL keeps none


def parse_lines(text: str, *, sign: str = "=") -> dict[str, str]:
    """NAME=value lines as a mapping; blank lines and lines that begin with # are left out."""
    pairs = [line.partition(sign) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return {name.strip(): value.strip() for name, _, value in pairs}


def write_lines(values: Mapping[str, Any], *, sign: str = "=") -> str:
    """A mapping as NAME=value lines."""
    return "\n".join(f"{name}{sign}{value}" for name, value in values.items())
