"""Runs statements as users whose rights are those of a file with GRANT statements.

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
for statement in text.split(";"):
    if user := re.match(r"\s*CREATE USER IF NOT EXISTS (\w+)\s*$", statement):
        grants[user[1]] = []
    elif grant := re.match(r"\s*(GRANT .*) TO (\w+)\s*$", statement, re.DOTALL):
        grants[grant[2]].append(grant[1])
USER = "<password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>"
users = f"<default>{USER}<access_management>1</access_management></default>"
for user, own in grants.items():
    queries = "".join(f"<query>{escape(grant)}</query>" for grant in own)
    users += f"<{user}>{USER}<grants>{queries}</grants></{user}>"
folder = Path(tempfile.mkdtemp())
profiles = "<profiles><default/></profiles><quotas><default/></quotas>"
(folder / "users.xml").write_text(f"<clickhouse>{profiles}<users>{users}</users></clickhouse>")
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
