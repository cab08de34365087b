"""Print dlib's embeddings of the reference chips: reference.py > spark_job/faces/reference.json makes them anew."""

import json

from spark_job.faces.embed import dlib_embedder
from spark_job.faces.models import model_digest
from spark_job.faces.reference import reference_chips

embeddings = dlib_embedder()(reference_chips())
print(json.dumps({model_digest("resnet"): embeddings.astype(float).round(9).tolist()}))
