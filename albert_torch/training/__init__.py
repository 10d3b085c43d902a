"""The training engine that fine-tuning and pretraining share."""
