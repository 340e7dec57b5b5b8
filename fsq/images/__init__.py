"""The image contract: any image file to uint8 pixels of one size."""
