"""Builders: which object does a config mean?"""
