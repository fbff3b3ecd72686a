"""Certified training with Gaussian Loss Smoothing, on PyTorch Lightning."""
