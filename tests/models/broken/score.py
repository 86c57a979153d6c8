"""A script whose init() raises."""


def init() -> None:
    raise ValueError("the weights are of another shape: 3 x 4, not 4 x 3")


def run(raw: str) -> dict:
    return {}
