"""A causal language model and its passes.

Reading order: `model_files` (does the model exist), `loading`, `prompts` (from a conversation to token ids), `lora`
(adapters for fine-tuning); the fast paths `attention`, `gpu_layers` and `mixed_precision`; and `vectors` (similarity
search, and word vectors without a model).
"""
