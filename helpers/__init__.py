"""The helpers of the book "Multi-label classification in PyTorch".

Each module is about one thing and says so in its first line. Start with
`claims` (sentences that are measured) and `seeds` (many training runs at once).
"""

__version__ = "0.6.0"
