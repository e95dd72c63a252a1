"""Power quality by IEC 61000-4-30 class A, flicker by IEC 61000-4-15, EN 50160."""
