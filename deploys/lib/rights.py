"""What each component does in the bucket, and so what its key may do."""

from __future__ import annotations

LIST, READ, WRITE, DELETE = "list", "read", "write", "delete"

RIGHTS: dict[str, tuple[str, ...]] = {
    "thanos-sidecar": (LIST, READ, WRITE),
    "thanos-sidecar-attached": (LIST, READ, WRITE),
    "thanos-store": (LIST, READ),
    "thanos-compactor": (LIST, READ, WRITE, DELETE),
    "thanos-rule": (LIST, READ, WRITE),
    "thanos-receive": (LIST, READ, WRITE),
    "thanos-bucket-web": (LIST, READ),
}
"""Component -> what it does in the bucket (upstream's storage.md), and so what its key may do."""

ADMIN = "admin"
"""Name in `bucket_keys` of the key that makes the bucket. It stays on the control machine."""
