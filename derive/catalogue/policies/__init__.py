"""Policies of reinforcement learning and of language models: off policy, over two steps, in groups, with a penalty."""
