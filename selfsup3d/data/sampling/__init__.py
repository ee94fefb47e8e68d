"""Sampling: what is in a batch?"""
