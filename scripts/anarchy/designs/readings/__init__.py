"""Ladders of users who keep apart more or less, PoA-hat taken under every reading."""
