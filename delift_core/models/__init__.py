"""A causal language model and its passes.

Reading order: `model_files` (is the model there), `loading`, `prompts` (from a conversation to token ids), `lora`
(layers for fine-tuning); the fast paths `attention`, `packed_layers`, `compiled_layers` and `mixed_precision`; and
`vectors` (nearest neighbours, and word vectors without a model).
"""
