"""The demo utility: software meters, faults on the way, bills that close with the registers."""
