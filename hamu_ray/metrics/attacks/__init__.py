"""Attacks on unlearned models as pure functions of losses: does anything tell M from models that never saw the data?"""
