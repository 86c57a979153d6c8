"""Label and field selectors."""

from typing import Any

import pytest

from clusters.embedded import selectors
from clusters.embedded.errors import BadRequest

LABELS = {"app": "web", "tier": "front", "rank": "7", "example.org/x": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app=web,tier=back", False),
        ("app!=db", True),
        ("missing!=x", True),
        ("app in (web, db)", True),
        ("app in (db)", False),
        ("app notin (db),tier", True),
        ("missing notin (x)", True),
        ("missing", False),
        ("!missing", True),
        ("!app", False),
        ("example.org/x", True),
        ("example.org/x=", True),
        ("rank>5", True),
        ("rank<5", False),
        ("app>5", False),
    ],
)
def test_a_label_selector_matches(text: str, matches: bool) -> None:
    assert selectors.parse(text).matches(LABELS) is matches


@pytest.mark.parametrize("text", ["app in (a", "=x", "a=b=c", "a b", "in (a)", "a,,b"])
def test_a_label_selector_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="unable to parse requirement"):
        selectors.parse(text)


def test_a_selector_object_and_its_text_mean_the_same() -> None:
    expressions: list[dict[str, Any]] = [
        {"key": "tier", "operator": "In", "values": ["front", "back"]},
        {"key": "rank", "operator": "Exists"},
        {"key": "old", "operator": "DoesNotExist"},
        {"key": "app", "operator": "NotIn", "values": ["db"]},
    ]
    wanted = {"matchLabels": {"app": "web"}, "matchExpressions": expressions}
    text = selectors.to_text(wanted)
    assert text == "app=web,tier in (front,back),rank,!old,app notin (db)"
    for labels in (LABELS, LABELS | {"old": "1"}, LABELS | {"tier": "side"}, {}):
        assert selectors.parse(text).matches(labels) is selectors.from_object(wanted).matches(labels)


def test_an_empty_selector_object_selects_everything_and_a_missing_one_nothing() -> None:
    assert selectors.from_object({}).matches({})
    assert not selectors.from_object(None).matches(LABELS)
    assert not selectors.from_labels({}).matches(LABELS)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("metadata.name=a", True),
        ("status.phase!=Running", False),
        ("spec.nodeName=", True),
        ("status.phase==Running,metadata.name=a", True),
    ],
)
def test_a_field_selector_matches(text: str, matches: bool) -> None:
    pod = {"metadata": {"name": "a"}, "spec": {}, "status": {"phase": "Running"}}
    assert selectors.parse_fields(text, resource_key="pods").matches(pod) is matches


def test_events_are_selected_by_what_they_are_about() -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {"uid": "u"}, "source": {"component": "kubelet"}}
    found = selectors.parse_fields("involvedObject.uid=u,source=kubelet", resource_key="events")
    assert found.matches(event)
