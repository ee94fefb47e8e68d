"""Metrics, protocols, evaluator."""
