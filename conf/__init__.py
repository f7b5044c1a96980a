"""Data only: the annotated default settings, the provider presets and the texts of notices."""
