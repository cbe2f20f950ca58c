"""What the document of the registry cannot say, told to schemathesis.

SERVICE_TOKEN is the token of the service books; JWT_SECRET signs the tokens of people.
"""

import base64
import hashlib
import hmac
import json
import os
import time
import uuid

import schemathesis


def encode(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def admin():
    person, now = str(uuid.uuid4()), int(time.time())
    claims = {"user_id": person, "sid": person, "role": "admin", "iat": now, "exp": now + 600}
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    signed = b".".join(encode(json.dumps(part).encode()) for part in parts)
    signature = hmac.digest(os.environ["JWT_SECRET"].encode(), signed, hashlib.sha256)
    return b".".join((signed, encode(signature))).decode()


@schemathesis.auth(refresh_interval=None)
class Caller:
    """A service tells; an admin forgets."""

    def get(self, case, context):
        return admin() if case.method.upper() == "DELETE" else os.environ["SERVICE_TOKEN"]

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def map_body(context, body):
    """A service tells its own schema: any other name is 403, and that is another test's."""
    name = body.get("service") if isinstance(body, dict) else None
    if isinstance(name, str) and 1 <= len(name) <= 253 and "\0" not in name:
        body["service"] = "books"
    return body


@schemathesis.hook
def filter_body(context, body):
    """A table has no two columns of one name that differ: no schema can say that."""
    columns = body.get("schema") if isinstance(body, dict) else None
    if not isinstance(columns, list) or not all(isinstance(column, dict) for column in columns):
        return True
    told = {json.dumps(column, sort_keys=True) for column in columns}
    names = {json.dumps((column.get("table_name"), column.get("column_name"))) for column in columns}
    return len(names) == len(told)
