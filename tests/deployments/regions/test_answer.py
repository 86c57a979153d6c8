"""What a test request got, in words."""

from deployments.regions.answer import SHOWN_BYTES, read_answer
from deployments.services import InvokeResult


def result(status: int, body: bytes = b"", **headers: str) -> InvokeResult:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return InvokeResult(status=status, headers=named, body=body, milliseconds=12.5, deployment="blue")


def test_json_is_laid_out_to_be_read() -> None:
    answer = read_answer(result(200, b'{"sides":[1,2]}', Content_Type="application/json"))
    assert answer.body == '{\n  "sides": [\n    1,\n    2\n  ]\n}'
    assert (answer.shape, answer.sentence) == ("ok", "")
    assert answer.headers == (("answered by", "blue"), ("content-type", "application/json"))


def test_what_is_no_json_comes_as_it_is() -> None:
    assert read_answer(result(200, b"Healthy")).body == "Healthy"
    assert read_answer(result(200, b"\xff\xfe")).body == "��"


def test_an_exception_in_run_is_told_from_the_routers_own_refusals() -> None:
    own = read_answer(result(500, b"oops", x_ms_run_function_failed="True"))
    assert own.sentence == "run() raised an exception. The log of the replica has its traceback."
    assert read_answer(result(429)).sentence.startswith("Turned away")
    assert read_answer(result(503)).shape == "fail"


def test_a_models_own_status_is_not_taken_for_the_routers() -> None:
    answer = read_answer(result(404, b"no such animal", ms_azureml_model_error_statuscode="404"))
    assert answer.sentence == "The model itself answered 404."


def test_a_long_answer_is_cut_and_that_is_said() -> None:
    answer = read_answer(result(200, b"x" * (SHOWN_BYTES + 1)))
    assert answer.cut
    assert (answer.shown, answer.size) == (SHOWN_BYTES, SHOWN_BYTES + 1)
