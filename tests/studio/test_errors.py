"""Errors people can read, in the form that was asked for."""

import json

from django.test import Client, RequestFactory

from studio.errors import FieldErrors, SlipwayError
from studio.middleware.errors import answer, problem
from studio.views.errors import broken


def test_the_api_gets_a_problem_with_its_fields() -> None:
    error = FieldErrors({"scale.max": ["Must be 3 or more."]})
    response = answer(RequestFactory().get("/api/v1/x"), error)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (response.status_code, json.loads(response.content)["errors"]) == (
        422,
        {"scale.max": ["Must be 3 or more."]},
    )


def test_htmx_gets_a_toast_and_keeps_its_page() -> None:
    response = answer(RequestFactory().get("/w/x/", headers={"HX-Request": "true"}), SlipwayError("iris is busy."))
    assert response.status_code == 409
    assert response.headers["HX-Reswap"] == "none"
    assert json.loads(response.headers["HX-Trigger"]) == {"toast": {"text": "iris is busy.", "state": "fail"}}


def test_a_plain_error_is_a_problem_without_fields() -> None:
    assert "errors" not in json.loads(problem(SlipwayError("iris is busy.")).content)


def test_an_unknown_address_of_the_api_answers_in_json(client: Client, db: None) -> None:
    response = client.get("/api/v1/nothing-like-this")
    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("application/")


def test_a_host_that_is_not_ours_gets_a_plain_page(client: Client, db: None) -> None:
    response = client.get("/sign-in", headers={"host": "elsewhere.example"})
    assert response.status_code == 400
    assert "Not understood" in response.content.decode()


def test_a_mistake_of_ours_is_a_page_without_details(db: None) -> None:
    response = broken(RequestFactory().get("/w/x/"))
    assert response.status_code == 500
    assert "Callers of your endpoints are not affected" in response.content.decode()
