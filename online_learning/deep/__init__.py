"""Deep models: embeddings of ids that come and go, and nets over them. Needs the extra `deep`."""
