"""A model that takes 200 ms, and says which replica answered."""

import os
import time


def init() -> None:
    print("slow model ready")


def run(raw: str) -> dict:
    time.sleep(0.2)
    return {"replica": os.environ["POD_IP"], "length": len(raw)}
