"""Which instance holds how much of a prompt: the tree of all cached prefixes.

`tree` folds what happens, `node` is one run of blocks, `drawing` shows the tree to people
and programs.
"""

from preble.prefix_tree.drawing import Drawing, draw, render
from preble.prefix_tree.node import Node
from preble.prefix_tree.tree import Match, PrefixTree, Victim, holders_of

__all__ = ["Drawing", "Match", "Node", "PrefixTree", "Victim", "draw", "holders_of", "render"]
