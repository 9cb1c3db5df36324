"""SFT, DPO and KTO by TRL's trainers: rows, their tokens and masks, and what a run needs of a trainer."""
