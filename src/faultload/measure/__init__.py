"""Measuring: Prometheus and request rows into series in SI units. Nothing here judges."""

from faultload.measure.catalogue import CATALOGUE, Entry, bucket_edges, catalogue, catalogue_of
from faultload.measure.collector import Collector
from faultload.measure.coverage import coverage
from faultload.measure.prometheus import PrometheusReader

__all__ = [
    "CATALOGUE",
    "Collector",
    "Entry",
    "PrometheusReader",
    "bucket_edges",
    "catalogue",
    "catalogue_of",
    "coverage",
]
