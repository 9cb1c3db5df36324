"""vLLM as the engine: in the learner's process, or as servers."""
