"""The fast path: models of the Llama family computed over flat tokens, with joined and cast weights.

The transformers module stays the truth: it is what is saved, pushed and checked, and these modules read its weights.
Any other architecture takes the general way, through the module's own forward pass.
"""
