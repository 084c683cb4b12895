"""Shape comments such as `# (B, T, C)`, run as checks.

Opened by notebook 01. To be read in this order: claims, tracing.
"""

from bhushgpt.shapes.claims import Letters, ShapeCommentError, judge, read_comment
from bhushgpt.shapes.tracing import execute_comments, shapes
