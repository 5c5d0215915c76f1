"""The bundle: a folder with the model, its manifest, and the scripts that time and verify it on the device."""
