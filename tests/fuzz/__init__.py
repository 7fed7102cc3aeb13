"""Fuzzing of wire and decode: ``make fuzz``."""
