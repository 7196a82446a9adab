"""Curve, hashes, trees and encodings of docs/protocol.md, sections 1 and 3, in plain Python. Slow and not constant-time:
it exists to be read and to disagree with the Rust code where that is wrong. Never sign with real keys here."""

import hashlib
import hmac

# secp256k1

FIELD = 2**256 - 2**32 - 977
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(a, b):
    if a is None or b is None:
        return b if a is None else a
    if a[0] == b[0]:
        if (a[1] + b[1]) % FIELD == 0:
            return None
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, FIELD)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, FIELD)
    x = (slope * slope - a[0] - b[0]) % FIELD
    return x, (slope * (a[0] - x) - a[1]) % FIELD


def multiply(k, point=G):
    result = None
    while k:
        if k & 1:
            result = add(result, point)
        point, k = add(point, point), k >> 1
    return result


def lift_x(x):
    n = int.from_bytes(x, "big")
    y = pow(n**3 + 7, (FIELD + 1) // 4, FIELD)
    assert n < FIELD and y * y % FIELD == (n**3 + 7) % FIELD, "no point"
    return n, y if y % 2 == 0 else FIELD - y


def x_of(point):
    return point[0].to_bytes(32, "big")


def even(k):
    """k or n - k, whichever has a point with an even y; and the x coordinate of that point."""
    point = multiply(k)
    return (k if point[1] % 2 == 0 else ORDER - k), x_of(point)


def scalar(n):
    return (n % ORDER).to_bytes(32, "big")


# Hashes


def sha256(data):
    return hashlib.sha256(data).digest()


def tagged(tag, data):
    tag = sha256(tag.encode())
    return sha256(tag + tag + data)


def secret(name):
    """The secret that vectors name by a word."""
    return int.from_bytes(sha256(name.encode()), "big")


def key(name):
    return even(secret(name))[1]


# BIP-340, EOTS, nonces, adaptor signatures


def challenge(nonce_x, public, message):
    return int.from_bytes(tagged("BIP0340/challenge", nonce_x + public + message), "big") % ORDER


def bip340(k, message, aux=bytes(32)):
    d, public = even(k)
    hidden = d ^ int.from_bytes(tagged("BIP0340/aux", aux), "big")
    nonce = int.from_bytes(tagged("BIP0340/nonce", hidden.to_bytes(32, "big") + public + message), "big")
    nonce, x = even(nonce % ORDER)
    return x + scalar(nonce + challenge(x, public, message) * d)


def derive_nonce(k, seed, context, height):
    """Section 3.3: the secret nonce of even y, and R.x."""
    d, _ = even(k)
    counter = 0
    while True:
        data = b"palisade/1/nonce" + seed + context + u64(height) + u32(counter)
        candidate = int.from_bytes(hmac.new(scalar(d), data, hashlib.sha256).digest(), "big")
        if 0 < candidate < ORDER:
            return even(candidate)
        counter += 1


def eots_sign(k, nonce, message):
    """Section 3.2: s. `nonce` is what `derive_nonce` gives."""
    d, public = even(k)
    return scalar(nonce[0] + challenge(nonce[1], public, sha256(message)) * d)


def eots_extract(public, nonce_x, first, second):
    """The secret, in even-y form, from two (message, s)."""
    (m1, s1), (m2, s2) = first, second
    difference = challenge(nonce_x, public, sha256(m1)) - challenge(nonce_x, public, sha256(m2))
    s = int.from_bytes(s1, "big") - int.from_bytes(s2, "big")
    d, found = even(s * pow(difference, -1, ORDER) % ORDER)
    assert found == public
    return scalar(d)


def adaptor_sign(k, encryption_key, message, aux=bytes(32)):
    d, public = even(k)
    t = lift_x(encryption_key)
    hidden = (d ^ int.from_bytes(tagged("SchnorrAdaptor/aux", aux), "big")).to_bytes(32, "big")
    nonce = tagged("SchnorrAdaptor/nonce", hidden + b"\x02" + encryption_key + public + message)
    nonce = int.from_bytes(nonce, "big")
    r0 = add(multiply(nonce), t)
    odd = r0[1] % 2
    x = x_of(r0)
    s = (ORDER - nonce if odd else nonce) + challenge(x, public, message) * d
    return bytes([2 + odd]) + x + scalar(s)


def adaptor_decrypt(signature, k):
    t, _ = even(k)
    s = int.from_bytes(signature[33:], "big")
    return signature[1:33] + scalar(s - t if signature[0] == 3 else s + t)


# Encoding


def u8(n):
    return n.to_bytes(1, "big")


def u16(n):
    return n.to_bytes(2, "big")


def u32(n):
    return n.to_bytes(4, "big")


def u64(n):
    return n.to_bytes(8, "big")


def items(values):
    return u16(len(values)) + b"".join(values)


def maybe(value):
    return b"\x00" if value is None else b"\x01" + value


def blob(data):
    return u32(len(data)) + data


def text(string):
    return blob(string.encode())


def chain_id(name):
    return u8(len(name)) + name.encode()


def compact(n):
    return n.to_bytes(1, "little") if n < 253 else b"\xfd" + n.to_bytes(2, "little")


def script(data):
    return blob(compact(len(data)) + data)


# Trees


def leaf(data):
    return sha256(b"\x00" + data)


def node(left, right):
    return sha256(b"\x01" + left + right)


def split(n):
    half = 1
    while half * 2 < n:
        half *= 2
    return half


def root(leaves):
    """Section 1.4, from above, as RFC 6962 words it."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    half = split(len(leaves))
    return node(root(leaves[:half]), root(leaves[half:]))


def path(leaves, index):
    if len(leaves) == 1:
        return []
    half = split(len(leaves))
    if index < half:
        return path(leaves[:half], index) + [root(leaves[half:])]
    return path(leaves[half:], index - half) + [root(leaves[:half])]


def multi_proof(leaves, picks):
    """Section 1.5, what the prover lists."""
    level, known, listed = leaves, sorted(picks), []
    while len(level) > 1:
        for place in known:
            sibling = place ^ 1
            if sibling < len(level) and sibling not in known:
                listed.append(level[sibling])
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [node(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        known = sorted({place // 2 for place in known})
    return listed


# Contexts


def context(hub, magic, name, genesis, incarnation, purpose):
    data = hub + magic + chain_id(name) + genesis + u32(incarnation) + u8(purpose)
    return tagged("palisade/1/context", data)
