"""Values in time: view logs, the hot index, training sets and serving rows."""
