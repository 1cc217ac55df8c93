"""Runs statements as users whose rights and settings are those of a file with GRANT and ALTER USER statements.

Usage: roles.py GRANTS < STATEMENTS

STATEMENTS has a JSON array [USER, STATEMENT] on each line; an empty USER is the administrator. For each it prints "ok"
or the name of the exception, such as ACCESS_DENIED. The embedded engine has no CREATE USER, so that users and their
grants come from its configuration."""

import json
import re
import sys
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import absent  # noqa: F401
from chdb import session

text = "".join(line for line in open(sys.argv[1]) if not line.startswith("--"))
grants = {}
settings = {}
for statement in text.split(";"):
    if user := re.match(r"\s*CREATE USER IF NOT EXISTS (\w+)\s*$", statement):
        grants[user[1]] = []
    elif grant := re.match(r"\s*(GRANT .*) TO (\w+)\s*$", statement, re.DOTALL):
        grants[grant[2]].append(grant[1])
    elif alter := re.match(r"\s*ALTER USER (\w+) SETTINGS (.*)$", statement, re.DOTALL):
        settings[alter[1]] = [one.split(" = ") for one in alter[2].strip().split(", ")]
USER = "<password/><networks><ip>::/0</ip></networks><quota>default</quota>"
users = f"<default>{USER}<profile>default</profile><access_management>1</access_management></default>"
for user, own in grants.items():
    queries = "".join(f"<query>{escape(grant)}</query>" for grant in own)
    users += f"<{user}>{USER}<profile>{user}</profile><grants>{queries}</grants></{user}>"
folder = Path(tempfile.mkdtemp())
profiles = "<default/>"
for user in grants:
    own = "".join(f"<{name}>{value}</{name}>" for name, value in settings.get(user, []))
    profiles += f"<{user}>{own}</{user}>"
(folder / "users.xml").write_text(
    f"<clickhouse><profiles>{profiles}</profiles><quotas><default/></quotas><users>{users}</users></clickhouse>"
)
(folder / "config.xml").write_text(
    f"<clickhouse><users_config>{folder}/users.xml</users_config>"
    "<allow_impersonate_user>true</allow_impersonate_user>"
    "</clickhouse>"
)
engine = session.Session(f"{folder}/data?config-file={folder}/config.xml")
for line in sys.stdin:
    user, statement = json.loads(line)
    try:
        engine.query(f"EXECUTE AS {user} {statement}" if user else statement)
        print("ok")
    except Exception as error:
        name = re.search(r"\(([A-Z_]+)\)\s*$", str(error))
        print(name[1] if name else error)
