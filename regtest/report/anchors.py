"""Claims about anchors and timestamps on Bitcoin (docs/protocol.md, section 9), and the files for an offline verifier."""

from wire import *


def anchors(facts):
    pass


def timestamps(facts):
    pass


def files(facts):
    pass
