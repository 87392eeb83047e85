"""Augmentation: batches of uint8 crops [N, 3, H, W] in, batches of uint8 crops out, on the device they are on.

Each file holds one kind of change as plain functions over a batch; what is drawn at random comes in as arguments.
:class:`~hyperarc.faces.augmentation.augmenter.Augmenter` draws it and puts the changes in order.
"""
