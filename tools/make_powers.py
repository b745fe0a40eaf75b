#!/usr/bin/env python3
"""Print the power table of src/types/vector_parse.c.

Entry q is floor(10^q * 2^s), where s puts it into [2^63, 2^64).
Usage: tools/make_powers.py, then paste between the braces.
"""
from fractions import Fraction

Q_MIN, Q_MAX = -56, 38

words = []
for q in range(Q_MIN, Q_MAX + 1):
    power = Fraction(10) ** q
    exponent = (217706 * q >> 16) - 63      # as in vector_parse.c
    word = int(power / Fraction(2) ** exponent)
    assert 2**63 <= word < 2**64, q
    words.append(f"UINT64_C(0x{word:016x})")

print(f"#define POWER_MIN ({Q_MIN})")
print(f"#define POWER_MAX {Q_MAX}")
for i in range(0, len(words), 2):
    print("\t" + ", ".join(words[i:i + 2]) + ("," if i + 2 < len(words) else ""))
