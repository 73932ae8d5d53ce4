"""The engines that run operators, one module each; nothing else knows an engine."""
