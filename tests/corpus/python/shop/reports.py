"""Reports that the back office downloads."""

import os
import sqlite3
import subprocess

from flask import Flask, abort, request, send_file, session

app = Flask(__name__)
EXPORTS = "/var/lib/shop/exports"


def database() -> sqlite3.Connection:
    return sqlite3.connect("/var/lib/shop/shop.db")


@app.before_request
def staff_only() -> None:
    if not session.get("staff"):
        abort(403)


@app.get("/reports/orders")
def orders():
    """Orders of one customer, newest first."""
    customer = request.args.get("customer", "")
    connection = database()
    rows = connection.execute(
        f"SELECT id, total FROM orders WHERE customer = '{customer}' ORDER BY id DESC"
    ).fetchall()
    connection.close()
    return {"orders": [{"id": row[0], "total": row[1]} for row in rows]}


@app.get("/reports/download")
def download():
    name = request.args["name"]
    return send_file(os.path.join(EXPORTS, name))


@app.post("/reports/archive")
def archive():
    """Pack a month of exports."""
    month = request.form["month"]
    subprocess.run(f"tar czf {EXPORTS}/{month}.tgz {EXPORTS}/{month}", shell=True, check=True)
    return {"archived": month}
