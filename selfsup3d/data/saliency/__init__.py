"""Saliency: where is the person, without labels?"""
