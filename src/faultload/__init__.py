"""Break an LLM inference platform on purpose, under real load, and say whether users noticed.

Five nouns (workload, fault, target, record, verdict) and one flow: `faultload.run.flow`.
"""

from importlib.metadata import version

__version__ = version("faultload")
