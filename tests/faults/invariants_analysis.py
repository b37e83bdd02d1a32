"""The same promises for analyses: over runs, units and their attempts."""

from __future__ import annotations

OPEN = "('pending', 'running', 'waiting')"
ENDED = "('completed', 'failed', 'cancelled', 'cut_off')"
UNITS = "analysis_unit u JOIN analysis_analysisrun r ON r.id = u.run_id"
ATTEMPTS = f"{UNITS} JOIN analysis_unitattempt a ON a.unit_id = u.id"
GOOD = "('end_turn', 'stop_sequence')"

ALWAYS: dict[str, str] = {
    "1 a running attempt is held": """SELECT id FROM analysis_unitattempt WHERE status = 'running'
        AND (worker = '' OR due_at IS NULL OR deadline_at IS NULL OR started_at IS NULL)""",
    "1 an open attempt has an alarm": f"""SELECT id FROM analysis_unitattempt
        WHERE status IN {OPEN} AND due_at IS NULL""",
    "1 what is active has a start": """SELECT id FROM analysis_analysisrun
        WHERE status NOT IN ('pending', 'cancelled') AND started_at IS NULL""",
    "2 one open attempt for a unit": f"""SELECT unit_id FROM analysis_unitattempt WHERE status IN {OPEN}
        GROUP BY unit_id HAVING count(*) > 1""",
    "3 ended is ended": """SELECT e.id FROM lab_unit_ended e LEFT JOIN analysis_unitattempt a USING (id)
        WHERE concat_ws('|', a.status, a.reason, a.stop_reason, a.finished_at) IS DISTINCT FROM e.facts""",
    "4 a completed run has only ended units": f"""SELECT u.id FROM {UNITS} WHERE r.status = 'completed'
        AND u.status NOT IN ('completed', 'skipped', 'failed')""",
    "4 a closed run has no unit at work": f"""SELECT u.id FROM {UNITS}
        WHERE r.status IN ('failed', 'cancelled') AND u.status = 'running'""",
    "4 units know the phase of their run": f"SELECT u.id FROM {UNITS} WHERE u.run_phase <> r.phase",
    "4 a closed run has no open attempt": f"""SELECT a.id FROM {ATTEMPTS}
        WHERE r.status IN ('completed', 'failed', 'cancelled') AND a.status IN {OPEN}""",
    "5 ended attempts have an end, open ones none": f"""SELECT id FROM analysis_unitattempt
        WHERE (finished_at IS NOT NULL) <> (status IN {ENDED}) OR finished_at < started_at""",
    "6 attempts are numbered without gaps": """SELECT unit_id FROM analysis_unitattempt GROUP BY unit_id
        HAVING max(number) <> count(*) OR min(number) <> 1 OR count(DISTINCT number) <> count(*)""",
    "7 a completed answer has a good stop reason": f"""SELECT id FROM analysis_unitattempt
        WHERE kind IN ('overview', 'chunk') AND status = 'completed' AND stop_reason NOT IN {GOOD}""",
    "a unit is running exactly while an attempt of it is open": """SELECT u.id FROM analysis_unit u
        WHERE (u.status = 'running') <> EXISTS (SELECT FROM analysis_unitattempt a
            WHERE a.unit_id = u.id AND a.status IN ('pending', 'running'))""",
    "no run is active with nothing open": f"""SELECT r.id FROM analysis_analysisrun r
        WHERE r.status IN ('scanning', 'analyzing', 'generating') AND NOT EXISTS (SELECT FROM analysis_unit u
            JOIN analysis_unitattempt a ON a.unit_id = u.id WHERE u.run_id = r.id AND a.status IN {OPEN})""",
    "a completed unit has exactly one accepted answer": """SELECT u.id FROM analysis_unit u WHERE u.status = 'completed'
        AND NOT u.reused AND (SELECT count(*) FROM analysis_unitattempt a
            WHERE a.unit_id = u.id AND a.status = 'completed') <> 1""",
    "no answer was bought twice": f"""SELECT unit_id FROM analysis_unitattempt WHERE stop_reason IN {GOOD}
        GROUP BY unit_id HAVING count(*) > 1""",
    "nothing was tried after an answer was stored": f"""SELECT a.id FROM analysis_unitattempt a
        JOIN analysis_unitattempt b ON b.unit_id = a.unit_id AND b.number > a.number WHERE a.stop_reason IN {GOOD}""",
    "one answer belongs to one attempt": """SELECT request_id FROM (
            SELECT request_id FROM analysis_unitattempt UNION ALL SELECT request_id FROM workflows_stepattempt) found
        WHERE request_id <> '' GROUP BY request_id HAVING count(*) > 1""",
    "each lost or stuck attempt is in the audit, once": """SELECT a.id FROM analysis_unitattempt a
        WHERE a.reason IN ('lost', 'stuck') AND (SELECT count(*) FROM nyxcore_auditentry e WHERE e.actor = 'sweep'
            AND e.model = 'unitattempt' AND e.row = a.id AND e.to_status = 'failed') <> 1""",
    "what failed says why": """SELECT id FROM analysis_unitattempt WHERE status IN ('failed', 'cut_off') AND reason = ''
        UNION ALL SELECT id FROM analysis_unit WHERE status = 'failed' AND reason = ''
        UNION ALL SELECT id FROM analysis_analysisrun WHERE status = 'failed' AND reason = ''""",
    "a lost attempt names its worker": """SELECT id FROM analysis_unitattempt
        WHERE reason = 'lost' AND (worker = '' OR error = '')""",
    "what was sent is kept, and has a cost or an estimate": """SELECT id FROM analysis_unitattempt
        WHERE request_id <> '' AND (request = '{}' OR cost IS NULL)""",
    "every start is exactly one run": """SELECT r.id FROM analysis_analysisrun r WHERE (SELECT count(*)
        FROM nyxcore_auditentry e WHERE e.model = 'analysisrun' AND e.row = r.id AND e.action = 'start') <> 1""",
}
AT_REST: dict[str, str] = {
    "every run has ended": """SELECT id FROM analysis_analysisrun
        WHERE status NOT IN ('completed', 'failed', 'cancelled')""",
    "no alarm has been ringing unheard": f"""SELECT id FROM analysis_unitattempt
        WHERE status IN {OPEN} AND due_at < clock_timestamp() - interval '10 s'""",
}
REMEMBER = f"""INSERT INTO lab_unit_ended SELECT id, concat_ws('|', status, reason, stop_reason, finished_at)
    FROM analysis_unitattempt WHERE status IN {ENDED} ON CONFLICT DO NOTHING"""
# The calls of a unit, by the mark that its source bears: run and folder. Overviews have one mark for all.
ASKED = """SELECT CASE u.kind WHEN 'overview' THEN 'overview'
                  ELSE r.name || '.' || split_part(u.chunk->'pieces'->0->>0, '/', 1) END, count(*),
                  array_agg(a.request_id) FILTER (WHERE a.stop_reason IN ('end_turn', 'stop_sequence'))
             FROM analysis_unitattempt a JOIN analysis_unit u ON u.id = a.unit_id
             JOIN analysis_analysisrun r ON r.id = u.run_id WHERE a.request <> '{}' GROUP BY 1"""
