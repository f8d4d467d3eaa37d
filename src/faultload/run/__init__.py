"""The one flow: load, break, revert, judge, report. Begin reading at `flow.run_experiment`.

Nothing is imported here: asking whether a platform is up must not pay for pandas.
"""
