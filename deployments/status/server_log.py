"""What a scoring server's log says of why it ended.

azureml-inference-server-http prints the traceback of the user's script, then one of its own that wraps it:

    E [70] azmlinfsrv - User's init function failed
    E [70] azmlinfsrv - Encountered Exception Traceback (most recent call last):
      File ".../user_script.py", line 119, in invoke_init
      File "/var/azureml-app/code/score.py", line 27, in init
    FileNotFoundError: [Errno 2] No such file or directory: '/var/azureml-app/model/vocab.json'

    The above exception was the direct cause of the following exception:
    ...
    azureml_inference_server_http.server.user_script.UserScriptException: Caught an unhandled exception ...

The proof is the last line of the user's own traceback, and the place is the deepest frame in the user's code.
"""

import re
from dataclasses import dataclass
from typing import Final

_WRAPPED: Final = "The above exception was the direct cause of the following exception"
_ERROR: Final = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(?:: (?P<text>.*))?$")
_FRAME: Final = re.compile(r'^\s+File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
_LEVEL: Final = re.compile(r"^(?:\d{4}-\d\d-\d\d \S+ |\[[^\]]*\] \[\d+\] \[)?(?P<level>E|W|ERROR|WARNING|CRITICAL)\b")

IMPORT: Final = "UserScriptImportError"
FUNCTION: Final = "UserScriptFunctionNotFound"
INIT: Final = "UserScriptInitFailed"
_MARKS: Final = (
    (FUNCTION, re.compile(r"does not have a (?P<function>\w+)\(\) function defined")),
    (IMPORT, re.compile(r"Failed to import user script")),
    (INIT, re.compile(r"User's init function failed")),
)


@dataclass(frozen=True)
class Failure:
    """Why the user's script failed: the name users know, the proving line, and where in their code (or "")."""

    name: str
    proof: str
    place: str = ""  # "score.py, line 27"
    function: str = ""  # the one that is missing


def find_failure(text: str) -> Failure | None:
    """What the end of a server's log says of the user's script; None when it says nothing of it."""
    for name, mark in _MARKS:
        if match := _last_match(mark, text):
            if name == FUNCTION:
                return Failure(name=name, proof=_line_around(text, match.start()), function=match["function"])
            block = _last_user_traceback(text)
            return Failure(
                name=name, proof=_last_error(block) or _line_around(text, match.start()), place=_place(block)
            )
    return None


def _last_match(mark: re.Pattern[str], text: str) -> re.Match[str] | None:
    """A traceback shows the source line that raised before the message itself."""
    return next(reversed(list(mark.finditer(text))), None)


def last_line(text: str) -> str:
    """The last line of a log that is not empty and not the server's own good-bye."""
    own = ("gunicorn.error - Worker exiting", "Shutting down: Master", "Reason: Worker failed to boot")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not any(each in line for each in own)]
    return lines[-1] if lines else ""


def level_of(text: str) -> str:
    """ "error", "warn" or "info": how bad a line of a model server or the fetcher says it is."""
    if match := _LEVEL.match(text):
        return "warn" if match["level"].startswith("W") else "error"
    if text.startswith(("Traceback (most recent call last)", "error: ")) or re.match(
        r"^[\w.]*(Error|Exception)\b", text
    ):
        return "error"
    return "warn" if re.match(r"^(.*Warning: |WARN\b|warning: )", text) else "info"


def _last_user_traceback(text: str) -> list[str]:
    """The lines up to the server's own wrapping of the error."""
    return text.split(_WRAPPED, maxsplit=1)[0].rstrip().splitlines()


def _last_error(lines: list[str]) -> str:
    for before, line in zip(reversed(lines[:-1]), reversed(lines[1:]), strict=True):
        if _ERROR.match(line) and before.startswith(" "):
            return line.strip()
    return ""


def _place(lines: list[str]) -> str:
    frames = [match for line in lines if (match := _FRAME.match(line))]
    mine = [frame for frame in frames if "site-packages" not in frame["file"] and "<frozen" not in frame["file"]]
    if not mine:
        return ""
    path = mine[-1]["file"]
    file = path.rsplit("/code/", 1)[-1] if "/code/" in path else path.rsplit("/", 1)[-1]
    return f"{file}, line {mine[-1]['line']}"


def _line_around(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[start : end if end >= 0 else len(text)].strip()
    return re.sub(r"^(?:\S+ \S+ [EWI] \[\d+\] )?(?:azmlinfsrv(?:\.\w+)* - )?", "", line)
