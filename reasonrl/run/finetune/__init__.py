"""Runs of SFT, DPO and KTO: prepared, trained by TRL's trainers, and measured on our suites."""
