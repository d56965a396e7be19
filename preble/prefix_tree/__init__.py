"""Which instance holds how much of a prompt: the tree of all cached prefixes.

tree        what requests want           node        one run of blocks
held_runs   what instances hold          key_table   finds the node of a block
runs        the shape of the tree        matching    who holds how much of a prompt
drawing     for people and programs      invariants  what must hold between calls

`PrefixTree` is a `HeldRuns` is a `Runs`: each layer knows only those below it.
"""

from preble.prefix_tree.drawing import EVERYTHING, Drawing, DrawnNode, Selection, draw, render
from preble.prefix_tree.matching import Match, holders_of
from preble.prefix_tree.node import Node
from preble.prefix_tree.tree import PrefixTree, Victim

__all__ = [
    "EVERYTHING",
    "Drawing",
    "DrawnNode",
    "Match",
    "Node",
    "PrefixTree",
    "Selection",
    "Victim",
    "draw",
    "holders_of",
    "render",
]
