"""Moments inside the database: triggers of the laboratory that wait at an advisory lock while a gate is shut.

Nothing of this is in the product. A gate belongs to one run, and it waits inside the very statement that is named.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import psycopg


class Gate(IntEnum):
    """Where a run can be held."""

    STARTED = 1  # in the transaction that starts it
    CLAIMED = 2  # its attempt is claimed, and the worker stores the request
    ANSWERED = 3  # the answer has arrived, and the worker stores it
    FINISHED = 4  # the answer is stored, and the worker ends the attempt
    SWEPT = 5  # the sweep ends its attempt
    CANCELLED = 6  # the transaction that cancels it


WHERE = {
    Gate.CLAIMED: ("UPDATE OF request", "OLD.request = '{}' AND NEW.request <> '{}'"),
    Gate.ANSWERED: ("UPDATE OF stop_reason", "OLD.stop_reason = '' AND NEW.stop_reason <> ''"),
    Gate.FINISHED: ("UPDATE OF status", "OLD.status = 'running' AND NEW.status = 'completed'"),
    Gate.SWEPT: ("UPDATE OF status", "OLD.status = 'running' AND NEW.reason = 'lost'"),
    Gate.CANCELLED: ("UPDATE OF status", "NEW.status = 'cancelled' AND NEW.reason = 'user'"),
}
FUNCTIONS = """
CREATE TABLE lab_unclaimable (run bigint PRIMARY KEY);
CREATE TABLE lab_ended (id bigint PRIMARY KEY, facts text);
CREATE TABLE lab_unit_ended (id bigint PRIMARY KEY, facts text);
CREATE FUNCTION lab_gate() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE run bigint;
BEGIN
    IF TG_TABLE_NAME = 'workflows_workflow' THEN
        run := NEW.id;
    ELSIF TG_TABLE_NAME = 'analysis_unitattempt' THEN
        SELECT run_id INTO run FROM analysis_unit WHERE id = NEW.unit_id;
    ELSE
        SELECT workflow_id INTO run FROM workflows_step WHERE id = NEW.step_id;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(TG_ARGV[0]::int, run::int);
    RETURN NEW;
END $$;
-- Attempts of these runs wait for an hour, so that nobody claims them before their moment is over.
CREATE FUNCTION lab_unclaimable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM lab_unclaimable u JOIN workflows_step s ON s.workflow_id = u.run WHERE s.id = NEW.step_id)
    THEN
        NEW.queued_at := clock_timestamp() + interval '1 hour';
        NEW.due_at := NEW.queued_at;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lab_unclaimable BEFORE INSERT ON workflows_stepattempt
    FOR EACH ROW WHEN (NEW.status = 'pending') EXECUTE FUNCTION lab_unclaimable();
CREATE TRIGGER lab_started BEFORE UPDATE OF status ON workflows_workflow
    FOR EACH ROW WHEN (OLD.status = 'pending' AND NEW.status = 'running') EXECUTE FUNCTION lab_gate(1);
"""


def install(conn: psycopg.Connection[Any]) -> None:
    conn.execute(FUNCTIONS)
    for gate, (when, condition) in WHERE.items():
        conn.execute(
            f"""CREATE TRIGGER lab_{gate.name.lower()} BEFORE {when} ON workflows_stepattempt
                FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION lab_gate({int(gate)})"""
        )
        # Of an analysis only its chunks are held, which bear the marks.
        conn.execute(
            f"""CREATE TRIGGER lab_{gate.name.lower()} BEFORE {when} ON analysis_unitattempt
                FOR EACH ROW WHEN (NEW.kind = 'chunk' AND {condition}) EXECUTE FUNCTION lab_gate({int(gate)})"""
        )


class Held:
    """A gate that is shut for one run, by a connection of its own; a server that ends opens it too."""

    def __init__(self, url: str, gate: Gate, run: int) -> None:
        self.gate, self.run = gate, run
        self._conn = psycopg.connect(url, autocommit=True, application_name="laboratory")
        self._conn.execute("SELECT pg_advisory_lock(%s, %s)", [int(gate), run])

    def waiting(self) -> tuple[int, str] | None:
        """(server process, program) that waits here: the moment has come."""
        return self._conn.execute(
            """SELECT l.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
                WHERE l.locktype = 'advisory' AND NOT l.granted AND l.classid = %s AND l.objid = %s""",
            [int(self.gate), self.run],
        ).fetchone()

    def also(self, query: str) -> None:
        """Hold more on the same connection."""
        self._conn.execute(query)

    def open(self) -> None:
        self._conn.close()
