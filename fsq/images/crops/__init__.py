"""Crop policies: one file each. A policy fits an image of any shape to the size of an encoder.

Which one is right depends on how the tokenizer was trained, so it is part of the token contract.
"""

from fsq.images.crops.adm import ADM, ADM_LANCZOS
from fsq.images.crops.base import CropPolicy
from fsq.images.crops.center import CENTER
from fsq.images.crops.pad import PAD
from fsq.images.crops.squash import SQUASH
from fsq.images.crops.torchvision import TORCHVISION

CROPS = {policy.name: policy for policy in (CENTER, ADM, ADM_LANCZOS, TORCHVISION, SQUASH, PAD)}

__all__ = ["CROPS", "CropPolicy"]
