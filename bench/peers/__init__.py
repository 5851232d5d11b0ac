"""The other gateways: one module each, with its version, its configuration and its faults."""
