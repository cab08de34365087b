"""Print what dlib itself makes of the reference images, to make these files of spark_job/faces anew.

reference.py embeddings > reference.json
reference.py hog > hog_reference.json
"""

import json
import sys

import dlib

from spark_job.faces.detect import dlib_hog
from spark_job.faces.embed import dlib_embedder
from spark_job.faces.hog_weights import read_weights
from spark_job.faces.models import model_digest
from spark_job.faces.reference import reference_chips, reference_photo


def embeddings() -> dict[str, list[list[float]]]:
    return {model_digest("resnet"): dlib_embedder()(reference_chips()).astype(float).round(9).tolist()}


def hog() -> dict[str, list[list[tuple[list[int], float]]]]:
    """By upsample, 0 and 1: boxes and scores."""
    detector, photo = dlib.get_frontal_face_detector(), reference_photo()
    found = [dlib_hog(detector)(photo, upsample) for upsample in range(2)]
    digest = read_weights(dlib.get_frontal_face_detector()).digest
    return {digest: [[(list(box), round(score, 6)) for box, score in faces] for faces in found]}


print(json.dumps({"embeddings": embeddings, "hog": hog}[sys.argv[1]]()))
