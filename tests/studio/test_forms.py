"""What was typed and what is wrong with it, at the fields and over the form."""

from django.http import QueryDict

from studio.forms import Field, Form, parse_lines, read_values


def test_an_error_is_shown_at_its_field_and_over_the_form_with_a_link() -> None:
    form = Form(
        (Field("scale_settings.max_instances", "Most replicas", name="most"),),
        errors={"scale_settings.max_instances": ["Must be 3 or more."], "type": ["Must be kubernetes."]},
    )
    assert form["most"].errors == ("Must be 3 or more.",)
    linked, homeless = form.complaints
    assert (linked.label, linked.text, linked.href) == ("Most replicas", " must be 3 or more.", "#f-most")
    assert (homeless.label, homeless.href) == ("type", "")


def test_an_error_below_a_field_names_what_is_wrong_in_it() -> None:
    form = Form(
        (Field("environment_variables", "Variables", name="variables", kind="textarea"),),
        errors={"environment_variables.WORKER_COUNT": ["Must be left out."]},
    )
    assert form["variables"].errors == ("WORKER_COUNT: Must be left out.",)


def test_what_was_typed_comes_back_as_it_was() -> None:
    fields = (Field("environment_variables", "Variables", name="variables", kind="textarea"),)
    data = QueryDict(mutable=True)
    data["environment_variables"] = "A=1\r\nB=2"
    assert read_values(data, fields=fields) == {"environment_variables": "A=1\nB=2"}
    assert parse_lines("A=1\n# no\n\nB = x=y") == {"A": "1", "B": "x=y"}


def test_a_complaint_that_is_a_sentence_of_its_own_stands_behind_a_colon() -> None:
    form = Form((Field("kubeconfig", "Kubeconfig"),), errors={"kubeconfig": ["The file is empty."]})
    assert [each.text for each in form.complaints] == [": The file is empty."]


def test_a_field_is_called_by_its_name_or_by_its_path() -> None:
    form = Form(
        (Field("limits.cpu", "CPU"), Field("limits.nvidia.com/gpu", "GPUs", name="gpu")), values={"limits.cpu": "1"}
    )
    assert (form["limits_cpu"].value, form["limits_cpu"].id, form["gpu"].id) == ("1", "f-limits-cpu", "f-gpu")
