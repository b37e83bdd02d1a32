"""What must hold of all rows whenever nobody is in the middle of a transaction: each rule one query that finds nothing.

The first group repeats what the database enforces (a test may have dropped a constraint), the second is what no
constraint can say: step and attempt agree, a run that is active has somebody who moves it, who acted stands in the
audit.
"""

from __future__ import annotations

from typing import Any

ATTEMPTS = (
    "workflows_stepattempt a JOIN workflows_step s ON s.id = a.step_id "
    "JOIN workflows_workflow w ON w.id = s.workflow_id"
)
STEPS = "workflows_step s JOIN workflows_workflow w ON w.id = s.workflow_id"
OPEN = "('pending', 'running', 'waiting')"
ENDED = "('completed', 'failed', 'cancelled', 'skipped', 'cut_off')"
LAST = (
    "SELECT {what} FROM workflows_stepattempt last WHERE last.step_id = s.id AND last.branch = '' "
    "ORDER BY last.number DESC LIMIT 1"
)
AUDIT = "SELECT FROM nyxcore_auditentry e WHERE e.model = '{model}' AND e.row = {row}"

# name: (what is named, FROM, WHERE)
RULES: dict[str, tuple[str, str, str]] = {
    # --- what the database enforces ---
    "a running attempt is held": (
        "a.id",
        ATTEMPTS,
        "a.status = 'running' AND (a.worker = '' OR a.due_at IS NULL OR a.deadline_at IS NULL "
        "OR a.started_at IS NULL)",
    ),
    "an open attempt has an alarm": ("a.id", ATTEMPTS, f"a.status IN {OPEN} AND a.due_at IS NULL"),
    "a step has one open attempt": (
        "s.id",
        STEPS,
        f"(SELECT count(*) FROM workflows_stepattempt a WHERE a.step_id = s.id AND a.status IN {OPEN}) > 1",
    ),
    "a completed run has only done steps": (
        "w.id, s.id",
        STEPS,
        "w.status = 'completed' AND s.status NOT IN ('completed', 'skipped')",
    ),
    "a closed run has no step at work": (
        "w.id, s.id",
        STEPS,
        "w.status IN ('failed', 'cancelled') AND s.status IN ('running', 'waiting')",
    ),
    "a step knows the phase of its run": ("w.id, s.id", STEPS, "s.workflow_phase <> w.phase"),
    "what is active has a start": (
        "w.id",
        "workflows_workflow w",
        "w.status IN ('running', 'paused', 'completed', 'failed') AND w.started_at IS NULL",
    ),
    "attempts are numbered without gaps": (
        "s.id",
        STEPS,
        "EXISTS (SELECT FROM workflows_stepattempt a WHERE a.step_id = s.id GROUP BY a.branch "
        "HAVING count(*) <> max(a.number))",
    ),
    "a completed answer is whole": (
        "a.id",
        ATTEMPTS,
        "a.kind = 'llm' AND a.status = 'completed' AND a.stop_reason NOT IN ('end_turn', 'stop_sequence')",
    ),
    **{
        f"{table}: an end is told of ended rows only, and comes after the start": (
            "x.id",
            f"workflows_{table} x",
            f"(x.finished_at IS NOT NULL) <> (x.status IN {ENDED}) OR x.finished_at < x.started_at",
        )
        for table in ("workflow", "step", "stepattempt")
    },
    # --- steps and their attempts ---
    "a running step has an attempt at work": (
        "s.id",
        STEPS,
        "s.status = 'running' AND NOT EXISTS (SELECT FROM workflows_stepattempt a WHERE a.step_id = s.id "
        "AND a.status IN ('pending', 'running'))",
    ),
    "an attempt at work has a running step": (
        "a.id, s.status",
        ATTEMPTS,
        "a.status IN ('pending', 'running') AND s.status <> 'running'",
    ),
    "a waiting step has a waiting attempt": (
        "s.id",
        STEPS,
        "s.status = 'waiting' AND NOT EXISTS (SELECT FROM workflows_stepattempt a WHERE a.step_id = s.id "
        "AND a.status = 'waiting')",
    ),
    "a waiting attempt has a waiting step": (
        "a.id, s.status",
        ATTEMPTS,
        "a.status = 'waiting' AND s.status <> 'waiting'",
    ),
    "a run that is not active has no open attempt": (
        "w.id, a.id",
        ATTEMPTS,
        f"w.status NOT IN ('running', 'paused') AND a.status IN {OPEN}",
    ),
    "a pending attempt is nobody's": ("a.id", ATTEMPTS, "a.status = 'pending' AND a.worker <> ''"),
    "a completed step has its answer from its last attempt": (
        "s.id",
        STEPS,
        f"s.status = 'completed' AND coalesce(({LAST.format(what='last.status')}), '') "
        "NOT IN ('completed', 'cut_off')",
    ),
    "a cut step was cut": (
        "s.id",
        STEPS,
        f"s.status = 'cut_off' AND coalesce(({LAST.format(what='last.status')}), '') <> 'cut_off'",
    ),
    "an open step stands on done ones": (
        "s.id",
        STEPS,
        "s.status IN ('running', 'waiting', 'completed', 'cut_off') AND EXISTS (SELECT FROM workflows_step n "
        "WHERE n.workflow_id = w.id AND n.key = ANY(s.needs) AND n.status NOT IN ('completed', 'skipped'))",
    ),
    "an answer that was stored is not lost": (
        "a.id, a.reason",
        ATTEMPTS,
        "a.status = 'failed' AND a.reason IN ('lost', 'stuck') AND a.stop_reason <> ''",
    ),
    "after a failure or a cut nothing waits for a worker but what a person asked for": (
        "a.id",
        ATTEMPTS,
        "a.status = 'pending' AND NOT (a.cause IN ('retry', 'continue', 'rerun') AND a.caused_by_id IS NOT NULL) "
        "AND EXISTS (SELECT FROM workflows_step n WHERE n.workflow_id = w.id AND n.status IN ('failed', 'cut_off'))",
    ),
    "below a hold nothing waits for a worker": (
        "a.id",
        ATTEMPTS,
        "a.status = 'pending' AND w.held_by_id IS NOT NULL",
    ),
    # --- somebody moves what is active ---
    "a running run has an attempt at work": (
        "w.id",
        "workflows_workflow w",
        "w.status = 'running' AND NOT EXISTS (SELECT FROM workflows_step s JOIN workflows_stepattempt a "
        "ON a.step_id = s.id WHERE s.workflow_id = w.id AND a.status IN ('pending', 'running'))",
    ),
    "a paused run names what a person can do": (
        "w.id, w.reason",
        "workflows_workflow w",
        "w.status = 'paused' AND NOT (w.held_by_id IS NOT NULL AND w.reason = 'user' "
        "OR w.held_by_id IS NULL AND (w.reason = 'budget' "
        "OR w.reason IN ('waiting', 'cut_off:max_tokens', 'cut_off:context', 'cut_off:thinking') "
        "AND EXISTS (SELECT FROM workflows_step s WHERE s.workflow_id = w.id "
        "AND s.status = split_part(w.reason, ':', 1))))",
    ),
    "only a person's hold pauses a run at work": (
        "w.id",
        ATTEMPTS,
        "w.status = 'paused' AND w.held_by_id IS NULL AND a.status IN ('pending', 'running')",
    ),
    "a hold ends with its run": (
        "w.id",
        "workflows_workflow w",
        "w.held_by_id IS NOT NULL AND w.status NOT IN ('running', 'paused')",
    ),
    "what failed says why": (
        "x.id",
        "(SELECT id, status, reason FROM workflows_workflow UNION ALL SELECT id, status, reason FROM workflows_step "
        "UNION ALL SELECT id, status, reason FROM workflows_stepattempt) x",
        "x.status IN ('failed', 'cut_off') AND x.reason = ''",
    ),
    "a run that failed has a cause below it, or a person's word": (
        "w.id, w.reason",
        "workflows_workflow w",
        "w.status = 'failed' AND w.reason NOT IN ('user', 'stuck') AND NOT EXISTS (SELECT FROM workflows_step s "
        "WHERE s.workflow_id = w.id AND s.status = 'failed')",
    ),
    # --- who acted ---
    "the sweep's and the operators' verdicts are audited": (
        "a.id, a.reason",
        ATTEMPTS,
        "a.status = 'failed' AND a.reason IN ('lost', 'stuck') AND a.started_at IS NOT NULL AND NOT EXISTS "
        f"({AUDIT.format(model='stepattempt', row='a.id')} AND e.to_status = 'failed' AND e.reason = a.reason)",
    ),
    "a cancelled run tells who": (
        "w.id",
        "workflows_workflow w",
        f"w.status = 'cancelled' AND NOT EXISTS ({AUDIT.format(model='workflow', row='w.id')} "
        "AND e.to_status = 'cancelled' AND e.user_id IS NOT NULL)",
    ),
    "a skipped step tells who": (
        "s.id",
        STEPS,
        f"s.status = 'skipped' AND NOT EXISTS ({AUDIT.format(model='step', row='s.id')} "
        "AND e.to_status = 'skipped' AND e.user_id IS NOT NULL)",
    ),
    "an accepted cut answer tells who": (
        "s.id",
        STEPS,
        f"s.status = 'completed' AND ({LAST.format(what='last.status')}) = 'cut_off' AND NOT EXISTS "
        f"({AUDIT.format(model='step', row='s.id')} AND e.from_status = 'cut_off' AND e.to_status = 'completed' "
        "AND e.user_id IS NOT NULL)",
    ),
}

QUERY = " UNION ALL ".join(
    f"(SELECT '{name.replace(chr(39), chr(39) * 2)}', concat_ws(' ', {what}) FROM {tables} WHERE {where} LIMIT 20)"
    for name, (what, tables, where) in RULES.items()
)


def violations(cursor: Any) -> list[str]:
    """Every rule that is broken now, with the rows that break it; by Django's cursor or psycopg's.

    Planning the query takes twenty times as long as running it over a test's rows, so it is planned once a session.
    """
    cursor.execute("SELECT FROM pg_prepared_statements WHERE name = 'invariants'")
    if not cursor.fetchall():
        cursor.execute(f"PREPARE invariants AS {QUERY}")
    cursor.execute("EXECUTE invariants")
    return [f"{rule}: {rows}" for rule, rows in cursor.fetchall()]
