"""A pipeline on one machine: broker, Flink, processes under a supervisor, the state folder."""
