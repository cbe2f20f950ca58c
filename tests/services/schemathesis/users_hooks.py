"""What the document of users cannot say, told to schemathesis.

VISIOBOOK_URL is where the service is; VISIOBOOK_GRANT is the command that makes the user of an address an admin.
"""

import itertools
import os
import shlex
import subprocess
import uuid

import requests
import schemathesis

URL = os.environ["VISIOBOOK_URL"]
PASSWORD = "correct horse"
PEOPLE = itertools.count()


def call(method, path, **arguments):
    return requests.request(method, f"{URL}/api/v1/users{path}", timeout=20, **arguments)


@schemathesis.auth(refresh_interval=None)
class Admin:
    """An admin whom the requests before have neither suspended, nor renamed, nor logged out: else another one."""

    token = None

    def get(self, case, context):
        if self.token is None or not self.holds():
            self.token = self.make()
        return self.token

    def holds(self):
        answer = call("GET", "/me", headers={"Authorization": f"Bearer {self.token}"})
        return answer.status_code == 200 and answer.json()["role"] == "admin"

    def make(self):
        name = f"a{next(PEOPLE)}-{uuid.uuid4().hex[:8]}"
        person = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
        call("POST", "", json=person).raise_for_status()
        subprocess.run([*shlex.split(os.environ["VISIOBOOK_GRANT"]), person["email"], "admin"], check=True)
        del person["username"]
        granted = call("POST", "/sessions", json=person)
        granted.raise_for_status()
        return granted.json()["accessToken"]

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def filter_body(context, body):
    """A schema counts characters, bcrypt counts bytes."""
    if not isinstance(body, dict):
        return True
    passwords = [body.get(name) for name in ("password", "newPassword", "currentPassword")]
    return all(not isinstance(text, str) or len(text.encode("utf-8", "replace")) <= 72 for text in passwords)


@schemathesis.hook
def filter_query(context, query):
    """A cursor is one that was given, of a list in its own order: no schema can say that."""
    return not isinstance(query, dict) or not query.get("cursor") and not {"cursor", "sort"} <= query.keys()
