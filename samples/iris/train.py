"""Train the sample: which of three irises is it, from the size of its leaves?

    python train.py --out FOLDER

Writes FOLDER/model.joblib. The data set is Fisher's, shipped inside scikit-learn: nothing is downloaded.
"""

import argparse
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for model.joblib")
    out = parser.parse_args().out
    iris = load_iris()
    train_x, test_x, train_y, test_y = train_test_split(
        iris.data, iris.target, test_size=0.25, random_state=7, stratify=iris.target
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(train_x, train_y)
    out.mkdir(parents=True, exist_ok=True)
    joblib.dump({"model": model, "names": [str(name) for name in iris.target_names]}, out / "model.joblib")
    print(f"Trained on {len(train_x)} flowers; right on {model.score(test_x, test_y):.0%} of {len(test_x)} others.")


if __name__ == "__main__":
    main()
