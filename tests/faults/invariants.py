"""What must be true of all rows, whatever happened: each is a query that finds the rows for which it is not.

Numbers in front are those of docs/architecture.md, Invariants. The others are promises that no single constraint can
hold: nothing stands still, nothing is paid twice, every start is one run, every verdict of the sweep is on record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import connection

from tests.faults import invariants_analysis as analyses
from tests.faults.model import LabModel, mark_of

OPEN = "('pending', 'running', 'waiting')"
ENDED = "('completed', 'failed', 'cancelled', 'cut_off')"
ATTEMPTS = (
    "workflows_stepattempt a JOIN workflows_step s ON s.id = a.step_id "
    "JOIN workflows_workflow w ON w.id = s.workflow_id"
)

ALWAYS: dict[str, str] = {
    "1 a running attempt is held": """SELECT a.id FROM workflows_stepattempt a WHERE status = 'running'
        AND (worker = '' OR due_at IS NULL OR deadline_at IS NULL OR started_at IS NULL)""",
    "1 an open attempt has an alarm": f"SELECT id FROM workflows_stepattempt WHERE status IN {OPEN} AND due_at IS NULL",
    "1 what is active has a start": """SELECT id FROM workflows_workflow
        WHERE status IN ('running', 'paused', 'completed', 'failed') AND started_at IS NULL""",
    "2 one open attempt for a step": f"""SELECT step_id FROM workflows_stepattempt WHERE status IN {OPEN}
        GROUP BY step_id, branch HAVING count(*) > 1""",
    "3 ended is ended": """SELECT e.id FROM lab_ended e LEFT JOIN workflows_stepattempt a USING (id)
        WHERE concat_ws('|', a.status, a.reason, a.stop_reason, a.finished_at) IS DISTINCT FROM e.facts""",
    "4 a completed run has only done steps": """SELECT w.id FROM workflows_workflow w JOIN workflows_step s
        ON s.workflow_id = w.id WHERE w.status = 'completed' AND s.status NOT IN ('completed', 'skipped')""",
    "4 a closed run has no step at work": """SELECT w.id FROM workflows_workflow w JOIN workflows_step s
        ON s.workflow_id = w.id WHERE w.status IN ('failed', 'cancelled') AND s.status IN ('running', 'waiting')""",
    "4 steps know the phase of their run": """SELECT s.id FROM workflows_workflow w JOIN workflows_step s
        ON s.workflow_id = w.id WHERE s.workflow_phase <> w.phase""",
    "4 a closed run has no open attempt": f"""SELECT a.id FROM {ATTEMPTS}
        WHERE w.status IN ('completed', 'failed', 'cancelled') AND a.status IN {OPEN}""",
    "5 ended attempts have an end, open ones none": f"""SELECT id FROM workflows_stepattempt
        WHERE (finished_at IS NOT NULL) <> (status IN {ENDED}) OR finished_at < started_at""",
    "5 ended steps and runs have an end, open ones none": """SELECT id FROM workflows_step
        WHERE (finished_at IS NOT NULL) <> (status IN ('completed', 'failed', 'cancelled', 'skipped', 'cut_off'))
        UNION ALL SELECT id FROM workflows_workflow
        WHERE (finished_at IS NOT NULL) <> (status IN ('completed', 'failed', 'cancelled'))""",
    "6 attempts are numbered without gaps": """SELECT step_id FROM workflows_stepattempt GROUP BY step_id, branch
        HAVING max(number) <> count(*) OR min(number) <> 1 OR count(DISTINCT number) <> count(*)""",
    "7 a completed answer has a good stop reason": """SELECT id FROM workflows_stepattempt
        WHERE kind = 'llm' AND status = 'completed' AND stop_reason NOT IN ('end_turn', 'stop_sequence')""",
    "8 keys and positions are unique": """SELECT workflow_id FROM workflows_step GROUP BY workflow_id
        HAVING count(DISTINCT key) <> count(*) OR count(DISTINCT position) <> count(*)""",
    "no constraint is off": """SELECT 1 FROM pg_constraint WHERE NOT convalidated
        AND conrelid::regclass::text LIKE ANY (ARRAY['workflows%', 'analysis%', 'nyxcore%'])
        UNION ALL SELECT 1 FROM pg_trigger WHERE tgenabled <> 'O'
        UNION ALL SELECT 1 FROM pg_index WHERE NOT indisvalid""",
    "a step is running exactly while an attempt of it is open": """SELECT s.id FROM workflows_step s
        WHERE (s.status = 'running') <> EXISTS (SELECT FROM workflows_stepattempt a
            WHERE a.step_id = s.id AND a.status IN ('pending', 'running'))""",
    "no run is active with nothing open": f"""SELECT w.id FROM workflows_workflow w WHERE w.status = 'running'
        AND NOT EXISTS (SELECT FROM workflows_step s JOIN workflows_stepattempt a ON a.step_id = s.id
            WHERE s.workflow_id = w.id AND a.status IN {OPEN})""",
    "a completed step has exactly one accepted answer, its output": """SELECT s.id FROM workflows_step s
        WHERE s.status = 'completed' AND (SELECT count(*) FROM workflows_stepattempt a
            WHERE a.step_id = s.id AND a.status = 'completed' AND a.output = s.output) <> 1""",
    "no answer was bought twice": """SELECT step_id FROM workflows_stepattempt WHERE kind = 'llm'
        AND stop_reason IN ('end_turn', 'stop_sequence') GROUP BY step_id, branch HAVING count(*) > 1""",
    "nothing was tried after an answer was stored": """SELECT a.id FROM workflows_stepattempt a
        JOIN workflows_stepattempt b ON b.step_id = a.step_id AND b.branch = a.branch AND b.number > a.number
        WHERE a.kind = 'llm' AND a.stop_reason IN ('end_turn', 'stop_sequence')""",
    "one answer belongs to one attempt": """SELECT request_id FROM workflows_stepattempt WHERE request_id <> ''
        GROUP BY request_id HAVING count(*) > 1""",
    "each lost or stuck attempt is in the audit, once": """SELECT a.id FROM workflows_stepattempt a
        WHERE a.reason IN ('lost', 'stuck') AND (SELECT count(*) FROM nyxcore_auditentry e WHERE e.actor = 'sweep'
            AND e.model = 'stepattempt' AND e.row = a.id AND e.to_status = 'failed') <> 1""",
    "what failed or was cancelled says why": """SELECT id FROM workflows_stepattempt
        WHERE status IN ('failed', 'cut_off') AND reason = ''
        UNION ALL SELECT id FROM workflows_step WHERE status = 'failed' AND reason = ''
        UNION ALL SELECT id FROM workflows_workflow WHERE status = 'failed' AND reason = ''""",
    "a lost attempt names its worker": """SELECT id FROM workflows_stepattempt
        WHERE reason = 'lost' AND (worker = '' OR error = '')""",
    "what was sent is kept, and has a cost or an estimate": """SELECT id FROM workflows_stepattempt
        WHERE request_id <> '' AND (request = '{}' OR cost IS NULL)""",
}
# True as soon as the runs of a round have ended and everything is up again.
AT_REST: dict[str, str] = {
    "everything has ended or waits for a person": """SELECT id FROM workflows_workflow
        WHERE status = 'running' OR status = 'paused' AND held_by_id IS NULL AND reason NOT IN ('waiting', 'budget')
            AND reason NOT LIKE 'cut_off%'""",
    "no alarm has been ringing unheard": f"""SELECT id FROM workflows_stepattempt
        WHERE status IN {OPEN} AND due_at < clock_timestamp() - interval '10 s'""",
    "the sweep has passed lately": """SELECT id FROM nyxcore_sweepstate
        WHERE last_pass < clock_timestamp() - interval '15 s' OR last_pass IS NULL""",
}
REMEMBER = f"""INSERT INTO lab_ended SELECT id, concat_ws('|', status, reason, stop_reason, finished_at)
    FROM workflows_stepattempt WHERE status IN {ENDED} ON CONFLICT DO NOTHING"""


ALL = (
    ALWAYS
    | AT_REST
    | {f"analyses: {name}": query for name, query in (analyses.ALWAYS | analyses.AT_REST).items()}
)


def count() -> int:
    """How many there are."""
    return len(ALL) + 2


def violations(model: LabModel, accepted: Iterable[int]) -> list[str]:
    """Every invariant that does not hold over all rows, with the rows."""
    found = []
    with connection.cursor() as cursor:
        for name, query in ALL.items():
            cursor.execute(query)
            rows = [row[0] for row in cursor.fetchall()]
            if rows:
                found.append(f"{name}: {len(rows)} rows, {rows[:5]}")
        cursor.execute(REMEMBER)
        cursor.execute(analyses.REMEMBER)
        found += _starts(cursor, accepted) + _calls(cursor, model)
    return found


def _starts(cursor: Any, accepted: Iterable[int]) -> list[str]:
    """Every accepted start is exactly one start of exactly one run, and its first steps were opened once."""
    cursor.execute(
        """SELECT w.id, (SELECT count(*) FROM nyxcore_auditentry e
                          WHERE e.model = 'workflow' AND e.row = w.id AND e.action = 'start'),
                  (SELECT count(*) FROM workflows_step s JOIN workflows_stepattempt a ON a.step_id = s.id
                    WHERE s.workflow_id = w.id AND a.cause = 'start' AND s.position = 1)
             FROM workflows_workflow w WHERE w.status <> 'pending'"""
    )
    rows = {pk: (starts, opened) for pk, starts, opened in cursor.fetchall()}
    wrong = [pk for pk, (starts, opened) in rows.items() if starts != 1 or opened not in (1, 2)]
    gone = [pk for pk in accepted if pk not in rows]
    found = [f"every start is exactly one run: {wrong[:5]}"] if wrong else []
    return found + ([f"accepted starts without a run: {gone[:5]}"] if gone else [])


def _calls(cursor: Any, model: LabModel) -> list[str]:
    """At the model: no more calls for a step than attempts that asked, and each stored answer is one that was sent."""
    cursor.execute(
        r"""SELECT substring(a.request->>'prompt' FROM '\[([\w.-]+)\]'), count(*),
                   array_agg(a.request_id) FILTER (WHERE a.stop_reason IN ('end_turn', 'stop_sequence'))
              FROM workflows_stepattempt a WHERE a.request <> '{}' GROUP BY 1"""
    )
    rows = cursor.fetchall()
    cursor.execute(analyses.ASKED)
    rows += cursor.fetchall()
    asked = {mark: (attempts, answers or []) for mark, attempts, answers in rows if mark}
    made: dict[str, list[Any]] = {}
    for call in list(model.calls):
        made.setdefault(mark_of(call.body), []).append(call)
    too_many = [mark for mark, calls in made.items() if len(calls) > asked.get(mark, (0,))[0]]
    strange = [
        mark
        for mark, (_, answers) in asked.items()
        if not set(answers) <= {call.request_id for call in made.get(mark, []) if call.whole}
    ]
    found = [f"more calls than attempts that asked: {too_many[:5]}"] if too_many else []
    return found + ([f"stored answers that were never sent whole: {strange[:5]}"] if strange else [])
