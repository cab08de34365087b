"""cleanlab's Datalab on embeddings and labels, for labels.py, run by a Python that has cleanlab[datalab].

Its ranking is by label_score, those that it calls issues first. By default it takes the labels of a photo's nearest
neighbours for what the photo is. Where each label has ten photos, a classifier is tried too, as its documentation has
it: logistic regression, each photo predicted by one that has not seen it.
"""

import contextlib
import io
import sys

import numpy as np
from cleanlab import Datalab
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

FOLDS, MIN_PHOTOS = 5, 10


def order(labels: np.ndarray, **known: np.ndarray) -> np.ndarray:
    """The rows, worst first."""
    with contextlib.redirect_stdout(io.StringIO()):
        lab = Datalab({"label": labels.tolist()}, label_name="label")
        lab.find_issues(issue_types={"label": {}}, **known)
    issues = lab.get_issues("label")
    return np.lexsort((issues["label_score"], ~issues["is_label_issue"]))


def main(given: str, found: str) -> None:
    """Read embeddings and labels, write an order for each way."""
    with np.load(given) as arrays:
        embeddings, labels = arrays["embeddings"], arrays["labels"]
    orders = {"neighbours": order(labels, features=embeddings)}
    if np.unique(labels, return_counts=True)[1].min() >= MIN_PHOTOS:
        model = LogisticRegression(C=100, max_iter=1000)
        probabilities = cross_val_predict(model, embeddings, labels, cv=FOLDS, method="predict_proba")
        orders["logistic regression"] = order(labels, pred_probs=probabilities)
    np.savez(found, **orders)


if __name__ == "__main__":
    main(*sys.argv[1:])
