"""Which instance holds how much of a prompt: the tree of all cached prefixes.

tree        folds what happens           key_table   finds the node of a block
node        one run of blocks            matching    who holds how much of a prompt
drawing     for people and programs      invariants  what must hold of each node
"""

from preble.prefix_tree.drawing import Drawing, DrawnNode, draw, render
from preble.prefix_tree.matching import Match, holders_of
from preble.prefix_tree.node import Node
from preble.prefix_tree.tree import PrefixTree, Victim

__all__ = [
    "Drawing",
    "DrawnNode",
    "Match",
    "Node",
    "PrefixTree",
    "Victim",
    "draw",
    "holders_of",
    "render",
]
