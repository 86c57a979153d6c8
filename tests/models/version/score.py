"""A model that says which revision it is, by an environment variable."""

import os


def init() -> None:
    print("version", os.environ["MODEL_VERSION"])


def run(raw: str) -> dict:
    return {"version": os.environ["MODEL_VERSION"]}
