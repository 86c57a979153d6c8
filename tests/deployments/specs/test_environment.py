"""Definitions that mean the same have the same hash; lines that read the building machine are refused."""

import pytest

from deployments.specs import normalise_definition, parse_environment
from studio.errors import FieldErrors


def hash_of(requirements: str, *, python_version: str = "3.11") -> str:
    return normalise_definition(requirements, python_version=python_version).hash


def test_comments_order_case_blanks_and_underscores_do_not_matter() -> None:
    one = "# packages\nscikit-learn==1.7.2  # pinned\nNumPy >= 2 , < 3\r\n\n"
    other = "numpy>=2,<3\nScikit_Learn == 1.7.2\n"
    assert hash_of(one) == hash_of(other)


def test_versions_and_the_python_version_do_matter() -> None:
    assert hash_of("numpy==2.0") != hash_of("numpy==2.1")
    assert hash_of("numpy") != hash_of("numpy", python_version="3.12")


def test_markers_and_extras_are_kept() -> None:
    lines = normalise_definition('uvicorn[standard] >=0.30 ; python_version < "3.12"', python_version="3.11").lines
    assert 'uvicorn[standard]>=0.30; python_version < "3.12"' in lines


def test_the_scoring_server_is_added_unless_somebody_named_it() -> None:
    assert normalise_definition("numpy", python_version="3.11").server_added
    named = normalise_definition("AzureML_Inference_Server_HTTP==1.5.1", python_version="3.11")
    assert not named.server_added
    assert named.lines == ("azureml-inference-server-http==1.5.1",)


@pytest.mark.parametrize("line", ["-r other.txt", "-e .", "./wheel.whl", "/etc/passwd", "file:///etc/passwd"])
def test_lines_that_read_the_building_machine_are_refused(line: str) -> None:
    with pytest.raises(FieldErrors) as caught:
        parse_environment(name="bare", requirements=f"numpy\n{line}", image="", python_version="3.11")
    assert caught.value.errors["requirements"][0].startswith("Line 2: Must be a package")


def test_an_environment_is_requirements_or_an_image() -> None:
    with pytest.raises(FieldErrors) as caught:
        parse_environment(name="both", requirements="numpy", image="registry/x:1", python_version="2.7")
    assert set(caught.value.errors) == {"image", "python_version"}
