"""What a model store or a node's cache can say no with.

StoreError                   the text is the one line that the user sees
├── MissingError             S3 says that the key or the bucket does not exist
├── IntegrityError           what is there is not what was published
└── CannotResumeError        S3 does not serve the rest of an object from where we stand
"""

from __future__ import annotations


class StoreError(Exception):
    """Root of the tree: which URL or file, what was expected, what was found."""


class MissingError(StoreError):
    """S3's NoSuchKey or NoSuchBucket."""


class IntegrityError(StoreError):
    """A size, a checksum or a document's form is wrong."""


class CannotResumeError(StoreError):
    """The part that we have is of no use; begin again."""
