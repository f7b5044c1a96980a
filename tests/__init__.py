"""Tests: ``unit`` mirrors the packages, ``connectors`` is one suite for every connector, ``journeys`` are stories."""
