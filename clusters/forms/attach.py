"""The form that attaches a cluster: a name, a kubeconfig pasted or uploaded, a context."""

from collections.abc import Mapping, Sequence

from clusters.kube.connection import LARGEST_KUBECONFIG, KubeconfigError, read_contexts
from studio.forms import Field, Form, Option

CURRENT = Option("", "The file's current context")


def attach_fields(kubeconfig: str) -> tuple[Field, ...]:
    """The fields; the contexts to choose from are those of what was pasted."""
    return (
        Field("name", "Name", hint="How people here call the cluster. Small letters, digits, single dashes."),
        Field(
            "kubeconfig",
            "Kubeconfig",
            "textarea",
            hint="The output of: kubectl config view --minify --raw --flatten",
            mono=True,
            rows=12,
        ),
        Field("file", "Or take it from a file", "file"),
        Field(
            "context",
            "Context",
            "select",
            hint="The file is read again when you send the form; its contexts are then listed here.",
            options=(CURRENT, *(Option(name, name) for name in _contexts(kubeconfig))),
        ),
        Field(
            "allow_insecure",
            "Do not check the server's certificate",
            "tick",
            hint="Only when the kubeconfig says insecure-skip-tls-verify. Anybody on the way could then read the "
            "credentials.",
        ),
    )


def attach_form(*, values: Mapping[str, str], errors: Mapping[str, Sequence[str]] | None = None) -> Form:
    return Form(attach_fields(values.get("kubeconfig", "")), values=values, errors=errors or {})


def uploaded_text(data: bytes) -> str:
    """The text of an uploaded file; what is too large or no text is left to the kubeconfig's own rules."""
    return data[: LARGEST_KUBECONFIG + 1].decode(errors="replace")


def _contexts(text: str) -> tuple[str, ...]:
    try:
        return read_contexts(text).names
    except KubeconfigError:
        return ()
