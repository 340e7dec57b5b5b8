"""Starters: what a newcomer begins with, a finished example and commented configs."""
