"""BLS12-381 with keys in G2 and signatures in G1 (docs/protocol.md, section 3.5), in plain Python: draft-irtf-cfrg-bls-signature
over RFC 9380. As the other modules here: to be read, and never to sign with real keys."""

import hashlib
import hmac
from functools import lru_cache

SIGNATURE = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
POSSESSION = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"

# The curve follows from one number: E: y^2 = x^3 + 4 over the field of P elements, and its twist y^2 = x^3 + 4(1 + u), u^2 = -1.
Z = 0xD201000000010000  # The parameter is -Z.
R = Z**4 - Z**2 + 1
P = (Z + 1) ** 2 * R // 3 - Z
G2 = (
    (
        0x024AA2B2F08F0A91260805272DC51051C6E47AD4FA403B02B4510B647AE3D1770BAC0326A805BBEFD48056C8C121BDB8,
        0x13E02B6052719F607DACD3A088274F65596BD0D09920B61AB5DA61BBDC7F5049334CF11213945D57E5AC7D055D042B7E,
    ),
    (
        0x0CE5D527727D6E118CC9CDC6DA2E351AADFD9BAA8CBDD3A76D429A695160D12C923AC9CC3BACA289E193548608B82801,
        0x0606C4A02EA734CC32ACD2B02BC28B99CB3E287E85A763AF267492AB572E99AB3F370D275CEC1DA1AAA9075FF05F79BE,
    ),
)


class Field:
    """a + bu. The numbers of the base field are those with b = 0, so one arithmetic serves both curves."""

    def __init__(self, a, b=0):
        self.a, self.b = a % P, b % P

    def __add__(self, other):
        return Field(self.a + other.a, self.b + other.b)

    def __sub__(self, other):
        return Field(self.a - other.a, self.b - other.b)

    def __mul__(self, other):
        return Field(self.a * other.a - self.b * other.b, self.a * other.b + self.b * other.a)

    def __truediv__(self, other):
        norm = pow(other.a**2 + other.b**2, -1, P)
        return self * Field(other.a * norm, -other.b * norm)

    def __eq__(self, other):
        return (self.a, self.b) == (other.a, other.b)

    def is_zero(self):
        return self.a == self.b == 0

    def root(self):
        """A square root, or nothing. P is 3 modulo 4."""
        if self.b == 0:
            real, twisted = pow(self.a, (P + 1) // 4, P), pow(-self.a, (P + 1) // 4, P)
            found = Field(real) if real * real % P == self.a else Field(0, twisted)
        else:
            norm = pow(self.a**2 + self.b**2, (P + 1) // 4, P)
            half = pow(2, -1, P)
            squares = [(self.a + norm) * half % P, (self.a - norm) * half % P]
            reals = [pow(square, (P + 1) // 4, P) for square in squares]
            real = next(real for real, square in zip(reals, squares) if real * real % P == square)
            found = Field(real, self.b * half * pow(real, -1, P))
        return found if found * found == self else None

    def is_larger(self):
        """Whether it is the larger one of itself and its negative."""
        return (self.b or self.a) > P // 2


def curve(x):
    return x * x * x + Field(4)


def twist(x):
    return x * x * x + Field(4, 4)


GENERATOR = tuple(Field(*number) for number in G2)


def add(one, other):
    """Points of either curve: neither formula needs its constant. Infinity is None."""
    if one is None or other is None:
        return one or other
    if one[0] == other[0] and (one[1] + other[1]).is_zero():
        return None
    x = slope(one, other)
    x3 = x * x - one[0] - other[0]
    return x3, x * (one[0] - x3) - one[1]


def slope(one, other):
    if one[0] == other[0]:
        return Field(3) * one[0] * one[0] / (Field(2) * one[1])
    return (other[1] - one[1]) / (other[0] - one[0])


def multiply(k, point):
    result = None
    while k:
        if k & 1:
            result = add(result, point)
        point, k = add(point, point), k >> 1
    return result


def compress(point, numbers):
    x, y = point
    data = b"".join(part.to_bytes(48, "big") for part in ([x.b, x.a] if numbers == 2 else [x.a]))
    return bytes([data[0] | 0x80 | (0x20 if y.is_larger() else 0)]) + data[1:]


@lru_cache(None)
def point(data):
    """The point of the prime-order subgroup that 48 bytes (of the curve) or 96 bytes (of its twist) compress."""
    flags, first = data[0] & 0xE0, bytes([data[0] & 0x1F]) + data[1:]
    parts = [int.from_bytes(first[i : i + 48], "big") for i in range(0, len(data), 48)]
    assert flags in (0x80, 0xA0) and max(parts) < P, "no compressed point"
    x = Field(*reversed(parts))
    y = (curve(x) if len(parts) == 1 else twist(x)).root()
    assert y is not None and not (len(parts) == 1 and y.b), "not on the curve"
    if y.is_larger() != (flags == 0xA0):
        y = Field(0) - y
    assert multiply(R, (x, y)) is None, "not in the subgroup"
    return x, y


# Hashing to the curve (RFC 9380, sections 5.3.1, 6.6.2 and 8.8.1)


def expand(message, domain, size):
    tail = domain + bytes([len(domain)])
    first = hashlib.sha256(bytes(64) + message + size.to_bytes(2, "big") + b"\0" + tail).digest()
    block, out = bytes(32), b""
    for i in range(1, size // 32 + 1):
        block = hashlib.sha256(bytes(a ^ b for a, b in zip(first, block)) + bytes([i]) + tail).digest()
        out += block
    return out


# The curve with an isogeny of degree 11 to ours, and the polynomial whose roots are the x coordinates of its kernel, lowest first.
A = 0x144698A3B8E9433D693A02C96D4982B0EA985383EE66A8D8E8981AEFD881AC98936F8DA0E0F97F5CF428082D584C1D
B = 0x12E2908D11688030018B12E8753EEE3B2016C1F0F24F4070A0B9C14FCEF35EF55A23215A316CEAA5D1CC48E98E172BE0
KERNEL = [
    0x133341FB0962A34CB0504A9C4FADA0A5090D38679B4C040D5D1C3AFB023A3409FCC0815FEA66D8B02BBEF9C8B5A66E07,
    0x0264908AF037BCEDE00D054CF5D4775E83EB6CF63C76B969F8ED174FB59FCFF78D201F46F6CFC4ED6552E59CE75177B0,
    0x1335C502C1F54C49ACEEA65E87FD7203BA0F626F305FC0CFD606A5DAE9F3C8E81A4B3B69600129FABD307C69BF319D39,
    0x094440F65F408A6E930E16E3E92DD17BF60D6E9679A8D3D58593DE55AC23703042D609537EB3549AAC234D896CA82944,
    0x04AFE09D5CF4956A23B6B71F59D2B3407B415A774B7BE81BBB6FA99CBC798E0AC98BA725A5BC328016B1C268B4766E85,
    1,
]


def times(one, other):
    out = [0] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            out[i + j] = (out[i + j] + a * b) % P
    return out


def plus(*all):
    return [sum(each[i] for each in all if i < len(each)) % P for i in range(max(map(len, all)))]


def derived(polynomial):
    return [i * each for i, each in enumerate(polynomial)][1:]


def at(polynomial, x):
    return sum(each * pow(x, i, P) for i, each in enumerate(polynomial)) % P


def isogeny():
    """Numerators of x' and of y' / y, from the kernel by Kohel's formula; the denominators are its square and cube."""
    k, k1, k2 = KERNEL, derived(KERNEL), derived(derived(KERNEL))
    inner = plus(times(k1, k1), times([-1], times(k2, k)))
    numerator = plus(
        times([4 * B, 4 * A, 0, 4], inner),
        times([-2 * A, 0, -6], times(k1, k)),
        times([2 * k[4], 11], times(k, k)),
    )
    return numerator, plus(times(derived(numerator), k), times([-2], times(numerator, k1)))


X_NUMERATOR, Y_NUMERATOR = isogeny()


def swu(u):
    """The simplified SWU map to the curve of A and B, with the constant 11, and from there to ours."""
    t = (121 * u**4 + 11 * u**2) % P
    x = -B * pow(A, -1, P) * (1 + pow(t, -1, P)) % P if t else B * pow(11 * A, -1, P) % P
    square = (x**3 + A * x + B) % P
    y = pow(square, (P + 1) // 4, P)
    if y * y % P != square:
        x = 11 * u**2 * x % P
        square = (x**3 + A * x + B) % P
        y = pow(square, (P + 1) // 4, P)
    if y % 2 != u % 2:
        y = P - y
    below = pow(11 * at(KERNEL, x), -1, P)
    return Field(at(X_NUMERATOR, x) * below**2), Field(y * at(Y_NUMERATOR, x) * below**3)


def hash_to_point(message, domain):
    data = expand(message, domain, 128)
    one, other = (swu(int.from_bytes(data[i : i + 64], "big") % P) for i in (0, 64))
    return multiply(Z + 1, add(one, other))


# The pairing: numbers of the field of P^12 elements are polynomials in w, with w^12 = 2w^6 - 2 and u = w^6 - 1.


def multiply12(a, b):
    out = [0] * 23
    for i, x in enumerate(a):
        if x:
            for j, y in enumerate(b):
                out[i + j] += x * y
    for i in range(22, 11, -1):
        out[i - 6] += 2 * out[i]
        out[i - 12] -= 2 * out[i]
    return [each % P for each in out[:12]]


def line(one, other, place):
    """The line through two points of the twist, at a point of the curve; times w^3, which the last power takes away."""
    l = slope(one, other)
    out = [0] * 12
    for power, value in [(0, l * one[0] - one[1]), (2, Field(0) - l * place[0]), (3, place[1])]:
        out[power], out[power + 6] = value.a - value.b, value.b
    return out


def miller(place, q):
    """Miller's loop of a point of the curve and one of the twist, over Z: the sign of the parameter inverts all pairings."""
    out, t = [1] + [0] * 11, q
    for bit in bin(Z)[3:]:
        out = multiply12(multiply12(out, out), line(t, t, place))
        t = add(t, t)
        if bit == "1":
            out = multiply12(out, line(t, q, place))
            t = add(t, q)
    return out


def cancels(pairs):
    """Whether the product of the pairings is 1."""
    value = [1] + [0] * 11
    for place, q in pairs:
        value = multiply12(value, miller(place, q))
    out = value
    for bit in bin((P**12 - 1) // R)[3:]:
        out = multiply12(out, out)
        if bit == "1":
            out = multiply12(out, value)
    return out == [1] + [0] * 11


# Signatures


@lru_cache(None)
def verify(keys, message, signature, domain=SIGNATURE):
    """Whether a signature over a message is the sum of those by all keys (a tuple)."""
    total = None
    for key in keys:
        total = add(total, point(key))
    minus = GENERATOR[0], Field(0) - GENERATOR[1]
    return total is not None and cancels([(point(signature), minus), (hash_to_point(message, domain), total)])


def secret_key(material):
    """KeyGen of the draft, without key info."""
    salt, secret = b"BLS-SIG-KEYGEN-SALT-", 0
    while secret == 0:
        salt = hashlib.sha256(salt).digest()
        inner = hmac.new(salt, material + b"\0", hashlib.sha256).digest()
        one = hmac.new(inner, b"\0\x30\x01", hashlib.sha256).digest()
        other = hmac.new(inner, one + b"\0\x30\x02", hashlib.sha256).digest()
        secret = int.from_bytes((one + other)[:48], "big") % R
    return secret


def public_key(secret):
    return compress(multiply(secret, GENERATOR), 2)


def sign(secret, message, domain=SIGNATURE):
    return compress(multiply(secret, hash_to_point(message, domain)), 1)


def possession(secret):
    return sign(secret, public_key(secret), POSSESSION)
