"""Metrics, the rules they are taken by, the baselines beside them, and the evaluator that prints them together."""
