"""Signed requests to the object store of store-1, without a body."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import time

from tests.lab import keys
from tests.lab.plan import Lab


def request(lab: Lab, method: str, path: str, query: str = "", key_of: str = "thanos-compactor") -> tuple[int, bytes]:
    """Status and body of the answer to a request (AWS Signature Version 4) by the key of a component: the compactor's
    may do what any of them may, but make a bucket."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": lab.s3_endpoint, "x-amz-content-sha256": empty, "x-amz-date": now}
    signed = ";".join(headers)
    lines = [f"{name}:{value}\n" for name, value in headers.items()]
    canonical = "\n".join([method, path, query, "".join(lines), signed, empty])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = ("AWS4" + keys.secret(lab, f"s3_{key_of}_secret_key")).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{keys.secret(lab, f's3_{key_of}_access_key')}/{scope}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}"
    )
    connection = http.client.HTTPConnection(lab.s3_endpoint, timeout=5)
    try:
        connection.request(method, path + (f"?{query}" if query else ""), headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()
