"""Compares both tables, classifies differences, repairs through the fence, answers /parity."""
