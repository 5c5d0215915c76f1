"""Asking the device: what to time, how to reach the timer, and measurements that become table rows."""
