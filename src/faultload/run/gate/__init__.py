"""The regression gate: interleaved trials of two sides, and what they prove.

Read in this order: `plan` (what will be done), `sides` (what is compared), `trials` (one trial),
`conduct` (all of them, stage by stage), `deciding` (from numbers to verdicts) and `looks` (the door
to the judge); `judging` does the last two again from a stored gate, `stored` holds a candidate
against a stored baseline, and `runs` compares stored runs of an experiment.
"""
