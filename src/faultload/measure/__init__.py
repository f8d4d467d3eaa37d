"""Measuring: Prometheus and request rows into series in SI units. Nothing here judges."""

from faultload.measure.catalogue import CATALOGUE, Entry, bucket_edges, catalogue
from faultload.measure.prometheus import PrometheusReader, coverage

__all__ = ["CATALOGUE", "Entry", "PrometheusReader", "bucket_edges", "catalogue", "coverage"]
