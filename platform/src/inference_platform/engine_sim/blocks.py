"""The KV cache in blocks: who holds which, and which free ones can be used again as they are.

A full block is known by a key: a hash of its tokens and of the key of the block before it, so that
equal keys mean equal text from the start. A block that nobody holds stays known until somebody
else needs its place; the one that was given back longest ago goes first (LRU).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference_platform.engine_sim.scheduler import Request


class BlockPool:
    """The blocks of one engine. One of `num_blocks` is vLLM's null block and never used.

    Args:
        num_blocks: all blocks, the null block included.
        block_size: tokens in one block.
        caching: whether full blocks are remembered (vLLM's prefix caching).
    """

    def __init__(self, num_blocks: int, block_size: int, *, caching: bool = True) -> None:
        """Start with every block free and nothing remembered."""
        self.capacity = num_blocks - 1
        self.block_size = block_size
        self.caching = caching
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(1, num_blocks))
        self._holders = [0] * num_blocks
        self._block_of: dict[int, int] = {}  # key → block
        self._key_of: dict[int, int] = {}  # block → key

    @property
    def held(self) -> int:
        """Blocks that somebody holds; one that several requests share counts once."""
        return self.capacity - len(self._free)

    @property
    def remembered(self) -> int:
        """Blocks whose text can be found, held or not."""
        return len(self._block_of)

    def holders(self, block: int) -> int:
        """Return how many requests hold a block."""
        return self._holders[block]

    def layout(self) -> tuple[list[int], list[int | None]]:
        """Return the free blocks, the next to be used first, and the key of every block."""
        return list(self._free), [self._key_of.get(b) for b in range(self.capacity + 1)]

    def needed(self, tokens: int) -> int:
        """Return how many blocks this many tokens fill."""
        return -(-tokens // self.block_size)

    def lifetime(self, request: Request) -> int:
        """Return the most blocks a request will hold; its last token is never written back."""
        return self.needed(request.prompt_tokens + request.output_tokens - 1)

    def cached_prefix(self, request: Request) -> list[int]:
        """Return the blocks that hold the beginning of a request's tokens already.

        The last token is never taken from them: it must be computed to get the next one.
        """
        found: list[int] = []
        if not self.caching:
            return found
        for index in range((request.known_tokens - 1) // self.block_size):
            block = self._block_of.get(self._key(request, index))
            if block is None:
                break
            found.append(block)
        return found

    def extend(self, request: Request, tokens: int, cached: Sequence[int] = ()) -> bool:
        """Let a request hold blocks for its first `tokens`; False, and no change, if too few.

        `cached` are the blocks that `cached_prefix` found for a request that holds none.
        """
        if tokens < len(request.blocks) * self.block_size:
            return True  # most decode steps: no block begins or fills
        more = self.needed(tokens) - len(request.blocks) - len(cached)
        revived = sum(1 for block in cached if not self._holders[block])
        if more + revived > len(self._free):
            return False
        for block in cached:
            self._free.pop(block, None)
            self._holders[block] += 1
        request.blocks += cached
        for _ in range(more):
            request.blocks.append(self._take())
        if self.caching:
            self._remember(request, tokens)
        return True

    def release(self, request: Request) -> None:
        """Take back what a request holds, its end first: beginnings are worth more to others."""
        for block in reversed(request.blocks):
            self._holders[block] -= 1
            if not self._holders[block]:
                self._free[block] = None
        request.blocks.clear()
        request.full_blocks = 0

    def forget(self) -> bool:
        """Forget the texts of all blocks; False, and no change, while somebody holds one."""
        if self.held:
            return False
        self._block_of.clear()
        self._key_of.clear()
        return True

    def _take(self) -> int:
        """Return the block that has been free longest, and forget its text."""
        block, _ = self._free.popitem(last=False)
        key = self._key_of.pop(block, None)
        if key is not None:
            del self._block_of[key]
        self._holders[block] = 1
        return block

    def _remember(self, request: Request, tokens: int) -> None:
        """Make the full blocks among the request's first `tokens` known, as vLLM at scheduling."""
        full = tokens // self.block_size
        for index in range(request.full_blocks, full):
            key, block = self._key(request, index), request.blocks[index]
            if key not in self._block_of:
                self._block_of[key] = block
                self._key_of[block] = key
        request.full_blocks = full

    def _key(self, request: Request, index: int) -> int:
        """Return the key of a request's full block; each is computed once."""
        keys = request.block_keys
        while len(keys) <= index:
            start = len(keys) * self.block_size
            parent = keys[-1] if keys else None
            keys.append(hash((parent, request.tokens_between(start, start + self.block_size))))
        return keys[index]
