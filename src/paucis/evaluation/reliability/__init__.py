"""What a prediction says of itself against what came true: probabilities, unsure voxels, structures; a temperature."""
