"""Faces: the bytes of a photo -> upright pixels, the boxes of its faces, their landmarks, chips and embeddings.

engine.load gives all of it for some settings; decode and detect.select work without models. Everything here takes and
gives bytes and arrays, and is what an executor's Python workers import.
Never imported here: pyspark, or another wing.
"""
