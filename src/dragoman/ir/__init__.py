"""The hub: requests, answers and their parts in no dialect's words. Values and pure functions only."""
