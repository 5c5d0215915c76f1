"""Transports, one file each: this machine, SSH, a browser, and offline by a zip."""
