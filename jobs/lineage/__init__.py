"""Which data is made of which, told to a lineage backend that speaks OpenLineage."""
