"""The language of pipelines: frozen declarations that join sources, views and models."""
