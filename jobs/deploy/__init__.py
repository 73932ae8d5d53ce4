"""A pipeline written down for a cluster: resources of Kubernetes, and what images are made of."""
