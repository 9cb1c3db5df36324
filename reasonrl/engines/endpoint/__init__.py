"""Endpoints with OpenAI's API: vLLM servers that take token ids, and models that are known by name alone."""
