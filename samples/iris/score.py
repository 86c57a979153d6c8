"""Scoring script of the sample, as Azure ML writes them: init() once, run() for every request.

Request:  {"data": [[sepal length, sepal width, petal length, petal width], ...]}   in centimetres
Answer:   {"predictions": ["setosa", ...], "probabilities": [[...three numbers...], ...]}
"""

import json
import os
from pathlib import Path

import joblib
import numpy

model = None
names: list[str] = []


def init() -> None:
    global model, names
    found = next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("model.joblib"))
    loaded = joblib.load(found)
    model, names = loaded["model"], loaded["names"]
    print(f"Loaded {found.name}: {', '.join(names)}")


def run(raw: str) -> dict:
    flowers = numpy.array(json.loads(raw)["data"], dtype=float)
    shares = model.predict_proba(flowers)
    return {
        "predictions": [names[index] for index in shares.argmax(axis=1)],
        "probabilities": shares.round(4).tolist(),
    }
