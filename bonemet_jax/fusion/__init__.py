"""Classifiers over network embeddings and clinical data (rows G1, G2)."""
