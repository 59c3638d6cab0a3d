"""The panels: the only place that knows widgets."""
