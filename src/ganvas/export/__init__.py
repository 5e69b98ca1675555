"""Files by which a trained generator leaves ganvas."""
