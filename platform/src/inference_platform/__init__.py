"""The platform under test."""
