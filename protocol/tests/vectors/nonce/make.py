#!/usr/bin/env python3
"""Writes vectors.csv: nonces of docs/protocol.md, Nonces, by Python's hmac and textbook curve arithmetic.

Shares no code with the crate. `rejected` is how many of the first candidates count as out of range; a real candidate is
rejected once in 2^128 times, so the rows where it is not 0 pretend that HMAC gave 2^256 - 1 for those counters.
"""
import csv
import hashlib
import hmac

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and a[1] != b[1]:
        return None
    if a == b:
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(k):
    total, power = None, G
    while k:
        if k & 1:
            total = add(total, power)
        power = add(power, power)
        k >>= 1
    return total


def nonce(secret, seed, context, height, rejected):
    if multiply(secret)[1] % 2:
        secret = N - secret
    counter = 0
    while True:
        data = b"palisade/1/nonce" + seed + context + height.to_bytes(8, "big") + counter.to_bytes(4, "big")
        k = int.from_bytes(hmac.digest(secret.to_bytes(32, "big"), data, "sha256"), "big")
        if counter >= rejected and 0 < k < N:
            return k
        counter += 1


def digest(text):
    return hashlib.sha256(text.encode()).digest()


CASES = [
    # secret, seed, context, height, rejected
    (1, bytes(32), bytes(32), 0, 0),
    (N - 1, bytes(32), bytes(32), 0, 0),
    (3, bytes([0xFF] * 32), bytes(32), 0, 0),
    (3, bytes(32), bytes([0xFF] * 32), 0, 0),
    (3, bytes(32), bytes(32), 2**64 - 1, 0),
    *[(int.from_bytes(digest(f"key {i}"), "big"), digest(f"seed {i}"), digest(f"context {i}"), 5 * i, 0) for i in range(6)],
    (3, bytes(32), bytes(32), 7, 1),
    (3, bytes(32), bytes(32), 7, 3),
]

with open("vectors.csv", "w", newline="") as file:
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["secret key", "seed", "context", "height", "rejected", "k", "R.x"])
    for secret, seed, context, height, rejected in CASES:
        k = nonce(secret, seed, context, height, rejected)
        rows.writerow([f"{secret:064x}", seed.hex(), context.hex(), height, rejected, f"{k:064x}", f"{multiply(k)[0]:064x}"])
